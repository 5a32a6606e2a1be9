"""`ml.job` and the recipe of models without one, in this process; `tests/integration/tasks` starts real ones."""

import json
import threading
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from ml.bundles import BUNDLED_DIRECTORY, read_bundle
from ml.errors import DivergedError, InvalidSpecError, MLError, NoDataError, TrainingError, WeightsError
from ml.job import EXAMPLES_NAME, POSTED_NAME, WEIGHTS_NAME, Job, error_code, run
from ml.training import compute_threads
from tests.factories import DIAMOND

ROWS = [([0.0, 0.0], "no"), ([0.0, 1.0], "yes"), ([1.0, 0.0], "yes"), ([1.0, 1.0], "no")]

CONFIG: dict[str, Any] = {
    "kind": "classification",
    "arch": "mlp",
    "arch_options": {"hidden": [8]},
    "input": {"type": "vector", "size": 2},
    "labels": ["no", "yes"],
}

VALUE_CONFIG = {**CONFIG, "kind": "regression", "labels": [], "kind_options": {"unit": "EUR"}}


def job(recipe: str | None = None, config: dict[str, Any] | None = None, **options: Any) -> Job:
    return Job(recipe=recipe, config=config or (CONFIG if recipe is None else None), threads=1, options=options)


def write_examples(folder: Path, rows: list[tuple[Any, Any]]) -> None:
    lines = [json.dumps({"input": value, "label": label, "weight": 1.0}) for value, label in rows]
    (folder / EXAMPLES_NAME).write_text("\n".join(lines))


def run_job(wanted: Job, folder: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Run a job as its worker does: take every checkpoint away. Returns the metrics and what was told."""
    told: list[dict[str, Any]] = []

    def tell(event: dict[str, Any]) -> None:
        told.append(event)
        if event["event"] == "checkpoint":
            threading.Timer(0.01, (folder / event["file"]).unlink).start()

    with compute_threads(wanted.threads):
        run(wanted, folder, "cpu", tell)
    return json.loads((folder / "out" / "metrics.json").read_text()), told


def test_a_network_of_ones_own_learns_from_feedback_alone(tmp_path: Path) -> None:
    write_examples(tmp_path, ROWS * 3)

    metrics, _ = run_job(job(), tmp_path)

    assert (metrics["train_items"], metrics["train_accuracy"]) == (12, 1.0)
    assert metrics["headline"] == "train_accuracy"


def test_a_network_goes_on_from_given_weights(tmp_path: Path) -> None:
    write_examples(tmp_path, ROWS)
    bundle = read_bundle(BUNDLED_DIRECTORY / "xor")
    (tmp_path / WEIGHTS_NAME).write_bytes(bundle.weights)

    metrics, _ = run_job(job(epochs=1, learning_rate=1e-9), tmp_path)

    assert metrics["train_accuracy"] == 1.0


def test_posted_tensors_are_learned_from_nothing(tmp_path: Path) -> None:
    tensors = {"inputs": torch.tensor([row for row, _ in ROWS]), "targets": torch.tensor([0, 1, 1, 0])}
    safetensors.torch.save_file(tensors, tmp_path / POSTED_NAME)

    metrics, _ = run_job(job(), tmp_path)

    assert metrics["train_accuracy"] == 1.0


def test_a_regression_takes_the_scale_of_its_examples(tmp_path: Path) -> None:
    rows = [([float(x), float(y)], 1000.0 + 300 * x + 100 * y) for x in range(6) for y in range(6)]
    write_examples(tmp_path, rows * 6)

    metrics, _ = run_job(job(config=VALUE_CONFIG), tmp_path)

    written = read_bundle_config(tmp_path)
    assert metrics["validation_r2"] > 0.9
    assert written["kind_options"]["mean"] == pytest.approx(2000, rel=0.01)
    assert written["kind_options"]["unit"] == "EUR"


def test_examples_that_cannot_be_used_are_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_examples(tmp_path, [*ROWS, ([1.0], "no"), ([1.0, 1.0], "perhaps")])

    metrics, _ = run_job(job(epochs=1), tmp_path)

    assert metrics["train_items"] == 4
    assert "left out 2 example(s)" in capsys.readouterr().out


@pytest.mark.parametrize("rows", [[], ROWS[:1], [ROWS[0], ROWS[3]]])
def test_too_little_to_learn_from_is_refused(tmp_path: Path, rows: list[tuple[Any, Any]]) -> None:
    write_examples(tmp_path, rows)

    with pytest.raises(NoDataError):
        run_job(job(), tmp_path)


def test_weights_of_another_architecture_are_refused(tmp_path: Path) -> None:
    write_examples(tmp_path, ROWS)
    (tmp_path / WEIGHTS_NAME).write_bytes(read_bundle(BUNDLED_DIRECTORY / "fashion").weights)

    with pytest.raises(WeightsError, match="another architecture"):
        run_job(job(), tmp_path)


def test_a_recipe_learns_from_feedback_beside_its_own_data(tmp_path: Path) -> None:
    write_examples(tmp_path, [(DIAMOND, 2757.0)] * 3)

    metrics, _ = run_job(job("diamond-price", epochs=1, limit=100), tmp_path)

    assert metrics["train_items"] == 103


def test_a_recipe_may_leave_its_own_data_out(tmp_path: Path) -> None:
    write_examples(tmp_path, [([0, 0], "0"), ([0, 1], "1")])

    metrics, _ = run_job(job("xor", epochs=1, use_base=False), tmp_path)

    assert metrics["train_items"] == 2


def test_every_epoch_is_offered_as_a_checkpoint(tmp_path: Path) -> None:
    _, told = run_job(job("xor", epochs=3), tmp_path)

    assert [event["epoch"] for event in told if event["event"] == "checkpoint"] == [1, 2, 3]
    progress = [event for event in told if event["event"] == "progress"]
    assert progress[-1]["step"] == progress[-1]["steps"]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (NoDataError(), "no_data"),
        (DivergedError(), "diverged"),
        (TrainingError(), "invalid_data"),
        (WeightsError(), "invalid_data"),
        (InvalidSpecError("a", "b"), "invalid_data"),
        (MLError(), "internal"),
    ],
)
def test_an_error_is_told_by_its_code(error: MLError, code: str) -> None:
    assert error_code(error) == code


def read_bundle_config(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "out" / "model.json").read_text())  # type: ignore[no-any-return]
