import json
from pathlib import Path
from typing import Any

import pytest
import torch

from ml.bundles import BUNDLED_DIRECTORY, list_bundled, read_bundle, write_bundle
from ml.errors import InvalidSpecError, WeightsError
from ml.kinds import build_untrained
from ml.predictor import Predictor
from ml.recipes.registry import RECIPES
from ml.spec import ModelSpec

MAX_WEIGHTS_BYTES = 5_000_000


@pytest.fixture
def written(tmp_path: Path, vector_spec: ModelSpec, vector_config: dict[str, Any]) -> tuple[Path, Predictor]:
    predictor = build_untrained(vector_spec, "cpu")
    write_bundle(tmp_path, predictor, {"name": "vectors", **vector_config}, {"accuracy": 1.0}, "# vectors\n")
    return tmp_path, predictor


def test_a_written_model_can_be_read_and_built(written: tuple[Path, Predictor]) -> None:
    directory, predictor = written
    built = read_bundle(directory).build(version=3)
    assert (built.spec.name, built.spec.version) == ("vectors", 3)
    items = torch.randn(3, 2)
    assert torch.equal(built.forward(items), predictor.forward(items))


def test_the_metrics_are_in_the_configuration_and_in_a_file(written: tuple[Path, Predictor]) -> None:
    directory, _ = written
    assert read_bundle(directory).config["metrics"] == {"accuracy": 1.0}
    assert json.loads((directory / "metrics.json").read_text(encoding="utf-8")) == {"accuracy": 1.0}
    assert (directory / "MODEL_CARD.md").read_text(encoding="utf-8") == "# vectors\n"


def test_changed_weights_are_refused(written: tuple[Path, Predictor]) -> None:
    directory, _ = written
    (directory / "weights.safetensors").write_bytes(b"changed")
    with pytest.raises(WeightsError, match="SHA-256"):
        read_bundle(directory)


def test_missing_weights_are_named(written: tuple[Path, Predictor]) -> None:
    directory, _ = written
    (directory / "weights.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"weights\.safetensors cannot be read"):
        read_bundle(directory)


@pytest.mark.parametrize("content", ["", "{", "[]", "{}"])
def test_a_wrong_configuration_is_named(written: tuple[Path, Predictor], content: str) -> None:
    directory, _ = written
    (directory / "model.json").write_text(content, encoding="utf-8")
    with pytest.raises(InvalidSpecError):
        read_bundle(directory)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidSpecError, match=r"model\.json"):
        read_bundle(tmp_path / "nothing")


def test_every_recipe_has_its_model_bundled() -> None:
    assert list_bundled() == sorted(RECIPES)


@pytest.mark.parametrize("name", list_bundled())
def test_a_bundled_model_is_whole(name: str) -> None:
    bundle = read_bundle(BUNDLED_DIRECTORY / name)
    assert bundle.config["name"] == name
    assert len(bundle.weights) < MAX_WEIGHTS_BYTES
    card = (BUNDLED_DIRECTORY / name / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert f"python -m ml.train {name} --seed " in card


@pytest.mark.parametrize(("payload", "label"), [([0, 0], "0"), ([0, 1], "1"), ([1, 0], "1"), ([1, 1], "0")])
def test_xor_is_right(payload: list[int], label: str) -> None:
    predictor = read_bundle(BUNDLED_DIRECTORY / "xor").build()
    result = predictor.encode(predictor.forward(predictor.decode(payload).unsqueeze(0))[0])
    assert result["label"] == label
    assert result["score"] > 0.9


def test_every_sample_is_answered_rightly(samples: Path, fashion: Predictor) -> None:
    labels = json.loads((samples / "labels.json").read_text(encoding="utf-8"))
    assert len(labels) == 20
    batch = torch.stack([fashion.decode((samples / name).read_bytes()) for name in labels])
    with torch.inference_mode():
        results = fashion.encode_batch(fashion.forward(batch))
    assert [isinstance(result, dict) and result["label"] for result in results] == list(labels.values())
