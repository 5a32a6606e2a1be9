"""`torchqueue models tune`, beside real servers."""

import json

import pytest
from sqlalchemy import Engine as Database

from ml.layouts import Layout
from stack.layout import stored_layout
from tests.integration.stack.conftest import Torchqueue, assert_refused

LAYOUTS = {Layout(processes=1, threads=1): 10.0, Layout(processes=2, threads=1): 18.0}


def test_a_version_is_measured_once_and_again_when_asked(torchqueue: Torchqueue) -> None:
    first = json.loads(torchqueue("models", "tune", "xor", "--again", "--json").output)
    stored = json.loads(torchqueue("models", "tune", "xor", "1", "--json").output)
    again = json.loads(torchqueue("models", "tune", "xor", "--again", "--json").output)

    assert stored == first
    assert again["created_at"] > first["created_at"]
    assert first["source"] == "samples of the model"


def test_every_way_is_shown_with_its_verdict(torchqueue: Torchqueue) -> None:
    output = torchqueue("models", "tune", "xor").output

    assert {"fp32", "bf16", "chosen", "tolerance:"} <= set(output.split())


def test_a_version_that_is_not_there_is_refused(torchqueue: Torchqueue) -> None:
    assert_refused(torchqueue("models", "tune", "xor", "99"), "model 'xor' has no version 99; .*")
    assert_refused(torchqueue("models", "tune", "nobody"), "there is no model 'nobody'; .*")


def test_the_layout_that_was_measured_is_what_up_starts(
    torchqueue: Torchqueue, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.layout_tuning.measure_layouts", lambda *_, **__: LAYOUTS)

    output = torchqueue("models", "tune", "xor", "--processes", "--again").output

    assert "`torchqueue up` starts 2 worker(s) of 1 thread(s) from now on" in output
    assert stored_layout(database) == Layout(processes=2, threads=1)


def test_a_layout_is_measured_once_and_again_when_asked(
    torchqueue: Torchqueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    faster = {layout: rate * 2 for layout, rate in LAYOUTS.items()}
    rates = iter([LAYOUTS, faster])
    monkeypatch.setattr("tasks.layout_tuning.measure_layouts", lambda *_, **__: next(rates))

    first = json.loads(torchqueue("models", "tune", "xor", "--processes", "--again", "--json").output)
    stored = json.loads(torchqueue("models", "tune", "xor", "--processes", "--json").output)
    again = json.loads(torchqueue("models", "tune", "xor", "--processes", "--again", "--json").output)

    assert stored == first
    assert [each["items_per_s"] for each in again["layouts"]] == [20.0, 36.0]


def test_gpus_have_no_layout(torchqueue: Torchqueue) -> None:
    assert_refused(torchqueue("models", "tune", "xor", "--processes", "--device=cuda:0"), "--processes is about .*")


@pytest.mark.parametrize("count", ["0", "-1", "many"])
def test_a_number_of_workers_that_makes_no_sense_starts_nothing(torchqueue: Torchqueue, count: str) -> None:
    result = torchqueue("up", f"--workers={count}")

    assert result.exit_code == 2
    assert "use auto or 1, 2, 3, ..." in result.stderr
