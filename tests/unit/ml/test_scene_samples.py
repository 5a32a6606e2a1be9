import json
from pathlib import Path

import pytest
from PIL import Image

from ml.datasets.garment_scenes import build_composer
from ml.errors import MLError
from ml.kinds import build_untrained
from ml.predictor import Predictor
from ml.recipes import scene_samples
from ml.recipes.scene_samples import NAMES, ask, write_picture, write_scenes


def test_the_shipped_scenes_are_answered_rightly(samples: Path, garments: Predictor) -> None:
    labels = json.loads((samples / "scenes.json").read_text(encoding="utf-8"))
    assert set(labels) == set(NAMES)
    for name, shown in labels.items():
        found = ask(garments, (samples / name).read_bytes())["classes"]
        assert sorted(entry["label"] for entry in found) == sorted(shown)


def test_a_model_that_is_never_right_has_no_scenes(
    tiny_fashion: Path, tmp_path: Path, garments: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scene_samples, "TRIES", 3)
    untrained = build_untrained(garments.spec, "cpu")
    untrained.module.eval()
    with pytest.raises(MLError, match="too few of 3 scenes right"):
        write_scenes(tmp_path, build_composer("test", tiny_fashion, size=(60, 80)), untrained)


def test_the_picture_shows_the_scene_beside_its_answer(samples: Path, tmp_path: Path, garments: Predictor) -> None:
    write_picture(tmp_path / "sheet.png", samples / NAMES[0], garments)
    with Image.open(tmp_path / "sheet.png") as sheet, Image.open(samples / NAMES[0]) as scene:
        assert sheet.height == scene.height
        assert sheet.width > 2 * scene.width
        left = sheet.crop((0, 0, scene.width, scene.height))
        assert left.tobytes() == scene.convert("RGB").tobytes()
        assert sheet.crop((sheet.width - scene.width, 0, sheet.width, scene.height)).tobytes() != left.tobytes()
