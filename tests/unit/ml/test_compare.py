"""``ml.compare``: two versions on the same items."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from ml.compare import compare, main
from ml.errors import DatasetError
from ml.held_out import HELD_OUT, HeldOut
from ml.kinds import build_untrained
from ml.spec import ModelSpec
from ml.weights import dump_weights

LABELLED = [{"label": "1", "input": [0.0, 1.0]}, {"label": "0", "input": [1.0, 1.0]}]


@pytest.fixture
def task(tmp_path: Path, vector_config: dict[str, Any], vector_spec: ModelSpec) -> dict[str, Any]:
    """Two versions of a model without items of its own, the same but for their number."""
    weights = dump_weights(build_untrained(vector_spec, "cpu").module)
    sides = {}
    for number, side in enumerate(("champion", "candidate"), start=1):
        (tmp_path / f"{side}.weights").write_bytes(weights)
        sides[side] = {"number": number, "config": vector_config, "weights": f"{side}.weights"}
    return {"model": "vectors", "plugins": [], "max_items": 8, "sets": {"recent_feedback": LABELLED}, **sides}


def run(folder: Path, task: dict[str, Any]) -> dict[str, Any]:
    (folder / "task.json").write_text(json.dumps(task))
    return compare(folder)


def test_equal_versions_score_equally(tmp_path: Path, task: dict[str, Any]) -> None:
    found = run(tmp_path, task)["sets"]["recent_feedback"]

    assert found["candidate"] == found["champion"]
    assert found["groups"] == ["1", "0"]


def test_both_are_timed_on_the_same_items(tmp_path: Path, task: dict[str, Any]) -> None:
    assert set(run(tmp_path, task)["latency_ms"]) == {"candidate", "champion"}


def test_without_items_nothing_is_timed(tmp_path: Path, task: dict[str, Any]) -> None:
    assert run(tmp_path, {**task, "sets": {}}) == {"sets": {}, "latency_ms": None}


def test_an_item_may_lie_beside_as_a_file(
    tmp_path: Path, task: dict[str, Any], image_config: dict[str, Any], image_spec: ModelSpec, samples: Path
) -> None:
    for side in ("champion", "candidate"):
        (tmp_path / f"{side}.weights").write_bytes(dump_weights(build_untrained(image_spec, "cpu").module))
        task[side]["config"] = image_config
    (tmp_path / "photo").write_bytes((samples / "sandal-01.png").read_bytes())
    task["sets"] = {"held_out": [{"label": "Sandal", "file": "photo"}]}

    assert run(tmp_path, task)["sets"]["held_out"]["candidate"][0] in {0.0, 1.0}


def test_a_model_of_ours_brings_items_of_its_own(tmp_path: Path, task: dict[str, Any]) -> None:
    found = run(tmp_path, {**task, "model": "xor"})

    assert len(found["sets"]["held_out"]["candidate"]) == 8
    assert found["sets"]["held_out"]["source"] == "the table with noise"


def test_without_its_data_a_model_is_compared_on_feedback_alone(
    tmp_path: Path, task: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*_: object) -> Any:
        raise DatasetError("gone")

    monkeypatch.setitem(HELD_OUT, "xor", HeldOut(source="nowhere", score=missing))

    assert list(run(tmp_path, {**task, "model": "xor"})["sets"]) == ["recent_feedback"]


@pytest.mark.parametrize("side", ["candidate", "champion"])
def test_a_version_that_cannot_be_loaded_is_named(tmp_path: Path, task: dict[str, Any], side: str) -> None:
    (tmp_path / f"{side}.weights").write_bytes(b"no weights")

    found = run(tmp_path, task)

    assert found["refused"] == side
    assert "safetensors" in found["reason"]


def test_the_command_writes_the_result_beside_the_task(tmp_path: Path, task: dict[str, Any]) -> None:
    (tmp_path / "task.json").write_text(json.dumps(task))

    CliRunner().invoke(main, [str(tmp_path)], catch_exceptions=False)

    assert "recent_feedback" in json.loads((tmp_path / "result.json").read_text())["sets"]
