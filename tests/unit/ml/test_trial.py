"""`ml.trial`: outputs that a kind cannot use are refused with what it needs, before anybody depends on the model."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ml.errors import ModelLoadError
from ml.kinds import build_untrained
from ml.predictor import Predictor
from ml.spec import ModelSpec
from ml.trial import try_model

IMAGE = {"type": "image", "size": 16, "channels": 3}
VECTOR = {"type": "vector", "size": 2}

CLASSIFICATION = {"kind": "classification", "arch": "mlp", "input": VECTOR, "labels": ["0", "1", "2"]}
REGRESSION = {"kind": "regression", "arch": "mlp", "input": VECTOR, "labels": []}
SIMILARITY = {
    "kind": "similarity",
    "arch": "fashion-embedder",
    "arch_options": {"widths": [2, 2, 2], "embedding_size": 4},
    "input": {**IMAGE, "channels": 1},
}
SEGMENTATION = {
    "kind": "segmentation",
    "arch": "garment-unet",
    "arch_options": {"widths": [2, 2, 2, 2]},
    "input": {**IMAGE, "preparation": "letterbox"},
    "labels": ["Background", "Bag"],
}


class Answering(nn.Module):
    """Gives each item an output of one shape."""

    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.shape = shape

    def forward(self, batch: Tensor) -> Tensor:
        return torch.zeros(len(batch), *self.shape)


def build(config: dict[str, Any], *shape: int) -> Predictor:
    predictor = build_untrained(ModelSpec.from_config("m", 1, config), "cpu")
    predictor.module = Answering(*shape).eval()
    return predictor


@pytest.mark.parametrize(
    ("config", "shape", "told"),
    [
        (CLASSIFICATION, (4,), "has 4 outputs an item, but 3 labels are listed"),
        (REGRESSION, (1,), "has 1 outputs an item; a regression needs 3: the median"),
        (REGRESSION, (3, 2), "has 3 x 2 outputs an item; a regression needs 3"),
        (SIMILARITY, (4, 2, 2), "has 4 x 2 x 2 outputs an item; a similarity needs one vector"),
        (
            SEGMENTATION,
            (3, 16, 16),
            "has 3 x 16 x 16 outputs an item; 2 labels in pictures of 16 pixels need 2 x 16 x 16",
        ),
        (SEGMENTATION, (2, 8, 16), "need 2 x 16 x 16"),
    ],
)
def test_outputs_that_the_kind_cannot_use_are_refused(
    config: dict[str, Any], shape: tuple[int, ...], told: str
) -> None:
    with pytest.raises(ModelLoadError, match=told):
        try_model(build(config, *shape))


@pytest.mark.parametrize(
    ("config", "shape"),
    [(CLASSIFICATION, (3,)), (REGRESSION, (3,)), (SIMILARITY, (4,)), (SEGMENTATION, (2, 16, 16))],
)
def test_outputs_that_fit_make_a_result(config: dict[str, Any], shape: tuple[int, ...]) -> None:
    assert try_model(build(config, *shape))


def test_a_kind_that_fails_at_its_outputs_is_told_by_its_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    predictor = build(CLASSIFICATION, 4)
    monkeypatch.setattr(type(predictor), "check_outputs", Predictor.check_outputs)

    with pytest.raises(ModelLoadError, match="Outputs of 4 an item make no result: IndexError"):
        try_model(predictor)
