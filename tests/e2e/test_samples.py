"""The sample photos through the whole stack."""

import subprocess
import sys

import pytest

from tests.running import ROOT, SAMPLES, RunningStack, sample_labels


@pytest.mark.parametrize("name", sorted(sample_labels()))
def test_a_sample_photo_gets_its_label(stack: RunningStack, name: str) -> None:
    prediction = stack.predict_sample(name).json()
    assert prediction["result"]["label"] == sample_labels()[name]


def test_the_printed_curl_line_works_when_pasted(stack: RunningStack) -> None:
    printed = (stack.var_dir / "up.log").read_text()
    line = next(line for line in printed.splitlines() if line.startswith("curl "))
    answer = subprocess.run(["bash", "-c", line], cwd=ROOT, capture_output=True, text=True, check=True)
    assert '"label":"Sandal"' in answer.stdout


def test_the_command_line_asks_about_files(stack: RunningStack) -> None:
    command = [sys.executable, "-m", "stack", "predict", f"--var={stack.var_dir}", str(SAMPLES / "bag-01.png")]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "Bag" in answer.stdout


def test_a_photo_of_an_item_is_remembered_with_it(stack: RunningStack) -> None:
    item = {"catalog": "shop", "external_id": "42"}
    made = stack.predict_sample(params=item).json()
    known = stack.client.get("/v1/items/shop/42/predictions").json()["data"]
    assert known[0] == made
    assert made["item"] == item
