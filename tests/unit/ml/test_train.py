import json
from pathlib import Path

import torch
from click.testing import CliRunner

from ml.bundles import BUNDLED_DIRECTORY, read_bundle
from ml.recipes.recipe import RecipeOptions
from ml.train import main, train
from ml.training import Progress

FILES = {"MODEL_CARD.md", "metrics.json", "model.json", "weights.safetensors"}


def test_fashion_is_trained_and_written(tiny_fashion: Path, tmp_path: Path) -> None:
    told: list[Progress] = []
    options = RecipeOptions(data=tiny_fashion, epochs=1, limit=8)
    trained = train("fashion", tmp_path / "out", options, told.append)
    assert {path.name for path in (tmp_path / "out").iterdir()} == FILES
    assert trained.metrics["train_items"] == 8
    assert told[-1].step == told[-1].steps
    assert read_bundle(tmp_path / "out").build().spec.labels == trained.predictor.spec.labels


def test_fashion_similar_begins_with_the_body_of_fashion(tiny_fashion: Path, tmp_path: Path) -> None:
    options = RecipeOptions(data=tiny_fashion, epochs=1, limit=12)
    trained = train("fashion-similar", tmp_path / "out", options)
    body = read_bundle(BUNDLED_DIRECTORY / "fashion").build().module.state_dict()
    begun = trained.predictor.module.state_dict()
    # One small step may move a weight a little; fresh ones would be elsewhere.
    torch.testing.assert_close(begun["features.0.0.weight"], body["features.0.0.weight"], rtol=0, atol=0.05)
    assert trained.metrics["test_indexed"] == 12
    assert "12 test images" in trained.card


def test_garments_is_trained_and_written(tripled_fashion: Path, tmp_path: Path) -> None:
    trained = train("garments", tmp_path / "out", RecipeOptions(data=tripled_fashion, epochs=1, limit=16))
    assert {path.name for path in (tmp_path / "out").iterdir()} == FILES
    assert trained.metrics["train_scenes"] == 32
    assert read_bundle(tmp_path / "out").build().spec.labels == trained.predictor.spec.labels


def test_the_command_trains_xor(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["xor", "--epochs", "2", "--device", "cpu", "--out", str(tmp_path)])
    assert result.exit_code == 0
    # No terminal: a line an epoch in place of a bar that moves.
    assert [line.split("  ")[0] for line in result.stderr.splitlines()[:2]] == ["epoch 1/2", "epoch 2/2"]
    assert json.loads((tmp_path / "metrics.json").read_text(encoding="utf-8"))["epochs"] == 2


def test_the_same_seed_gives_the_same_file(tmp_path: Path) -> None:
    for name in ("a", "b"):
        train("xor", tmp_path / name, RecipeOptions(epochs=2, seed=3))
    first, second = ((tmp_path / name / "weights.safetensors").read_bytes() for name in ("a", "b"))
    assert first == second


def test_the_command_fails_with_one_line_when_the_data_is_missing(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["fashion", "--data", str(tmp_path), "--out", str(tmp_path / "out")])
    assert result.exit_code == 1
    assert "dataset-fashion-mnist" in result.output
    assert not (tmp_path / "out").exists()


def test_an_unknown_recipe_is_answered_with_the_known() -> None:
    result = CliRunner().invoke(main, ["poetry"])
    assert result.exit_code == 2
    assert "fashion" in result.output
