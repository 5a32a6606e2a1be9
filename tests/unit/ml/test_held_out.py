"""``ml.held_out``: the fixed items that versions are compared on."""

import pytest

from ml.bundles import BUNDLED_DIRECTORY, list_bundled, read_bundle
from ml.held_out import HELD_OUT
from ml.held_out_models import HELD_OUT_MODELS

LEAST = {"diamond-price": -1000.0, "fashion": 0.75, "fashion-similar": 0.7, "garments": 0.3, "xor": 0.99}
"""Mean scores that each bundled model reaches on a few of its items."""


def test_every_bundled_model_has_items() -> None:
    assert set(HELD_OUT) == HELD_OUT_MODELS == set(list_bundled())


@pytest.mark.parametrize("name", sorted(LEAST))
def test_a_bundled_model_scores_well_on_its_items(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ml.held_out.INDEX_ITEMS", 300)
    predictor = read_bundle(BUNDLED_DIRECTORY / name).build()

    held = HELD_OUT[name].score(predictor, 40 if name != "garments" else 8)

    scores = [score for score in held.scores if score is not None]
    assert sum(scores) / len(held.scores) > LEAST[name]
    assert len(held.sample) == 16
    assert held.groups is None or len(held.groups) == len(held.scores)
