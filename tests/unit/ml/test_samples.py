from pathlib import Path

import pytest

from ml.bundles import BUNDLED_DIRECTORY, read_bundle
from ml.errors import MLError
from ml.kinds import build_untrained
from ml.predictor import Predictor
from ml.recipes.samples import write_samples
from ml.spec import ModelSpec


@pytest.fixture
def untrained_fashion() -> Predictor:
    config = read_bundle(BUNDLED_DIRECTORY / "fashion").config
    predictor = build_untrained(ModelSpec.from_config("fashion", 1, config), "cpu")
    predictor.module.eval()
    return predictor


def test_a_model_that_is_never_right_has_no_samples(
    tiny_fashion: Path, tmp_path: Path, untrained_fashion: Predictor
) -> None:
    with pytest.raises(MLError, match="gets no test image of"):
        write_samples(tmp_path / "out", tiny_fashion, untrained_fashion)
