"""The sample photos through the whole stack."""

import io
import re
import subprocess
import sys

import pytest
from PIL import Image

from benchmarks.gpu import load_stack
from tests.running import ROOT, SAMPLES, RunningStack, sample_labels

JSON, PNG = {"Content-Type": "application/json"}, {"Content-Type": "image/png"}


@pytest.mark.parametrize("name", sorted(sample_labels()))
def test_a_sample_photo_gets_its_label(stack: RunningStack, name: str) -> None:
    prediction = stack.predict_sample(name).json()
    assert prediction["result"]["label"] == sample_labels()[name]


def test_a_diamond_gets_a_price_within_its_interval(stack: RunningStack) -> None:
    result = stack.predict("diamond-price", content=(SAMPLES / "diamond.json").read_bytes(), headers=JSON).json()[
        "result"
    ]
    assert result["low"] < result["value"] < result["high"]
    assert result["unit"] == "USD"


def test_items_are_found_by_a_photo_of_one(stack: RunningStack) -> None:
    photo = (SAMPLES / "sandal-01.png").read_bytes()
    command = [sys.executable, "-m", "stack", "items", "add", "fashion-similar", str(SAMPLES), "--catalog=samples"]
    subprocess.run([*command, f"--var={stack.var_dir}"], cwd=ROOT, capture_output=True, check=True)

    result = stack.predict("fashion-similar", content=photo, headers=PNG).json()["result"]

    nearest = result["items"][0]
    assert (nearest["catalog"], nearest["external_id"]) == ("samples", "sandal-01")
    assert stack.client.get(nearest["photo_url"]).content == photo


def test_a_scene_gets_its_garments_and_a_mask(stack: RunningStack) -> None:
    photo = (SAMPLES / "scene-01.jpg").read_bytes()
    result = stack.predict("garments", content=photo, headers={"Content-Type": "image/jpeg"}).json()["result"]

    mask = Image.open(io.BytesIO(stack.client.get(result["mask"]["url"]).content))
    assert mask.size == (result["mask"]["width"], result["mask"]["height"])
    assert {entry["label"] for entry in result["classes"]} == {entry["label"] for entry in result["mask"]["legend"]}
    assert set(mask.get_flattened_data()) - {0} == {entry["index"] for entry in result["mask"]["legend"]}


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


def test_photos_of_many_clients_are_counted_by_the_benchmark(stack: RunningStack) -> None:
    # How many fail depends on how busy the machine is.
    assert re.fullmatch(r"[1-9]\d* fashion/s over 32 connections, \d+ failed", load_stack(stack, 0.1))
