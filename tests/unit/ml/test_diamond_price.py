"""``diamond-price``: what the shipped model does on diamonds that nothing of it was trained or chosen on."""

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from ml.bundles import BUNDLED_DIRECTORY, read_bundle
from ml.errors import EvaluationError, InvalidSpecError, TrainingError
from ml.evaluate import main
from ml.evaluations.diamond_price import evaluate_diamond_price
from ml.evaluations.evaluation import EvaluationOptions, Report
from ml.recipes.recipe import RecipeOptions
from ml.train import train

FOLDER = BUNDLED_DIRECTORY / "diamond-price"

MAX_WEIGHTS_BYTES = 2_000_000


@pytest.fixture(scope="module")
def report() -> Report:
    return evaluate_diamond_price(EvaluationOptions(model=FOLDER))


def test_the_test_prices_are_explained(report: Report) -> None:
    assert report.measured["items"] > 8_000
    assert report.measured["r2"] >= 0.97


def test_the_intervals_hold_four_in_five_test_prices(report: Report) -> None:
    assert 0.78 <= report.measured["coverage"] <= 0.82


def test_the_intervals_hold_most_prices_in_every_range(report: Report) -> None:
    assert all(0.65 <= group["coverage"] <= 0.95 for group in report.measured["deciles"])


def test_the_intervals_are_narrow_enough_to_be_of_use(report: Report) -> None:
    assert report.measured["median_width"] < 0.25


def test_the_figures_of_the_card_are_those_that_are_measured(report: Report) -> None:
    metrics = read_bundle(FOLDER).config["metrics"]
    assert metrics["test_r2"] == pytest.approx(report.measured["r2"], abs=1e-3)
    assert metrics["test_coverage"] == pytest.approx(report.measured["coverage"], abs=1e-3)
    assert f"{metrics['test_coverage']:.2%}" in (FOLDER / "MODEL_CARD.md").read_text(encoding="utf-8")


def test_the_weights_are_small() -> None:
    assert len(read_bundle(FOLDER).weights) <= MAX_WEIGHTS_BYTES


def test_a_short_training_writes_a_calibrated_model(tmp_path: Path) -> None:
    trained = train("diamond-price", tmp_path, RecipeOptions(epochs=2, limit=400))
    built = read_bundle(tmp_path).build()
    assert built.spec.kind_options == trained.predictor.spec.kind_options
    assert built.spec.kind_options["offset"] != 0
    assert built.spec.kind_options["mean"] == pytest.approx(7.8, abs=0.3)
    assert trained.metrics["calibration_items"] == 400


def test_a_training_on_too_few_diamonds_says_how_many_it_takes(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="take 10 or more"):
        train("diamond-price", tmp_path / "out", RecipeOptions(limit=3))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("changes", "words"), [({"photo_like": True}, "takes no pictures"), ({"limit": 9}, "must be 10 or more")]
)
def test_options_that_mean_nothing_here_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(EvaluationError, match=words):
        evaluate_diamond_price(EvaluationOptions(model=FOLDER, **changes))


def test_a_model_of_another_kind_is_refused() -> None:
    with pytest.raises(InvalidSpecError, match="must be 'regression'"):
        evaluate_diamond_price(EvaluationOptions(model=BUNDLED_DIRECTORY / "xor"))


def test_the_command_prints_a_decile_a_line() -> None:
    result = CliRunner().invoke(main, ["diamond-price", "--limit", "200"], env={"COLUMNS": "120"})
    assert result.exit_code == 0
    assert "200 test diamonds" in result.output
    assert result.output.count(" to ") == 10
