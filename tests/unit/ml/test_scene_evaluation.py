import json
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from ml.datasets.fashion_mnist import DEFAULT_DIRECTORY
from ml.datasets.garment_scenes import LABELS, build_composer
from ml.errors import InvalidInputError
from ml.predictor import Predictor
from ml.scene_evaluation import encode_scene, evaluate_scenes, main

GOAL = 0.85
"""Mean intersection over union on held-out scenes."""

SCENES = 200


def test_every_scene_and_every_label_is_counted(garments: Predictor, tiny_fashion: Path) -> None:
    result = evaluate_scenes(garments, build_composer("test", tiny_fashion), count=60)
    assert result.scenes == 60
    assert list(result.by_label) == list(LABELS)
    assert 0 <= result.mean_iou <= 1


def test_the_mean_leaves_the_background_out(garments: Predictor, tiny_fashion: Path) -> None:
    result = evaluate_scenes(garments, build_composer("test", tiny_fashion), count=20)
    assert result.mean_iou == pytest.approx(sum(result.by_label[label] for label in LABELS[1:]) / len(LABELS[1:]))


def test_the_same_seed_gives_the_same_measure(garments: Predictor, tiny_fashion: Path) -> None:
    composer = build_composer("test", tiny_fashion)
    first, second, other = (evaluate_scenes(garments, composer, count=3, seed=seed) for seed in (1, 1, 2))
    assert first == second != other


def test_a_scene_is_encoded_without_a_visible_loss(garments: Predictor) -> None:
    image = torch.arange(96, dtype=torch.uint8).mul(2).expand(3, 96, 96)
    item = garments.decode(encode_scene(image))
    assert (item[:, :96].float() - image.float()).abs().max() <= 4


def test_a_scene_that_is_refused_ends_the_evaluation(garments: Predictor, tiny_fashion: Path) -> None:
    with pytest.raises(InvalidInputError):
        evaluate_scenes(garments, build_composer("test", tiny_fashion, size=(4, 4)), count=1)


def test_the_command_prints_json(tiny_fashion: Path) -> None:
    result = CliRunner().invoke(main, ["--data", str(tiny_fashion), "--scenes", "3", "--json"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.output)["scenes"] == 3


def test_the_command_prints_a_table(tiny_fashion: Path) -> None:
    result = CliRunner().invoke(main, ["--data", str(tiny_fashion), "--scenes", "3"])
    assert result.exit_code == 0, result.output
    assert "Ankle boot" in result.output


def test_the_command_fails_with_one_line_when_the_data_is_missing(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["--data", str(tmp_path)])
    assert result.exit_code == 1
    assert "dataset-fashion-mnist" in result.output


@pytest.mark.skipif(not DEFAULT_DIRECTORY.exists(), reason="needs Debian's dataset-fashion-mnist")
def test_the_shipped_model_finds_held_out_garments(garments: Predictor) -> None:
    assert evaluate_scenes(garments, build_composer("test"), SCENES).mean_iou >= GOAL
