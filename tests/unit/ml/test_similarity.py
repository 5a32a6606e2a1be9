from typing import Any

import pytest
import torch
from torch.nn import functional

from ml.errors import InvalidSpecError, NonFiniteOutputError
from ml.kinds import build_untrained
from ml.predictor import Predictor
from ml.similarity import TEMPERATURE
from ml.spec import ModelSpec
from tests.unit.ml.conftest import EncodeImage

SIZE = 6


@pytest.fixture
def config(image_config: dict[str, Any]) -> dict[str, Any]:
    options = {"widths": [2, 4, 8], "embedding_size": SIZE}
    return {**image_config, "kind": "similarity", "arch": "fashion-embedder", "arch_options": options}


@pytest.fixture
def embedder(config: dict[str, Any]) -> Predictor:
    predictor = build_untrained(ModelSpec.from_config("m", 1, config), "cpu")
    predictor.module.eval()
    return predictor


def _places(*angles_rad: float) -> torch.Tensor:
    angles = torch.tensor(angles_rad)
    return torch.stack([angles.cos(), angles.sin()], dim=1)


def test_embeddings_have_length_1(embedder: Predictor) -> None:
    outputs = embedder.forward(torch.randint(0, 256, (4, 1, 28, 28), dtype=torch.uint8))
    assert (outputs.shape, outputs.dtype) == ((4, SIZE), torch.float32)
    torch.testing.assert_close(outputs.norm(dim=1), torch.ones(4))


def test_a_batch_equals_each_alone(embedder: Predictor) -> None:
    batch = torch.randint(0, 256, (4, 1, 28, 28), dtype=torch.uint8)
    alone = torch.cat([embedder.forward(image.unsqueeze(0)) for image in batch])
    torch.testing.assert_close(embedder.forward(batch), alone, rtol=1e-5, atol=1e-6)


def test_embeddings_in_bfloat16_still_have_length_1_in_float32(embedder: Predictor) -> None:
    batch = torch.randint(0, 256, (2, 1, 28, 28), dtype=torch.uint8)
    with torch.autocast("cpu", torch.bfloat16):
        outputs = embedder.forward(batch)
    assert outputs.dtype == torch.float32
    torch.testing.assert_close(outputs.norm(dim=1), torch.ones(2))


def test_a_result_is_the_embedding_in_numbers_that_json_carries(embedder: Predictor) -> None:
    output = functional.normalize(torch.arange(1.0, SIZE + 1), dim=0)
    assert embedder.encode(output) == {"embedding": output.tolist()}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_an_output_that_is_not_finite_spares_the_rest_of_the_batch(embedder: Predictor, value: float) -> None:
    outputs = torch.ones(3, SIZE)
    outputs[1, 2] = value
    first, bad, last = embedder.encode_batch(outputs)
    assert isinstance(bad, NonFiniteOutputError)
    assert first == last == {"embedding": [1.0] * SIZE}


def test_a_photo_is_decoded_as_for_other_kinds(embedder: Predictor, encode_image: EncodeImage) -> None:
    file = encode_image(torch.zeros(28, 28, dtype=torch.uint8).numpy())
    [from_batch] = embedder.decode_batch([file])
    assert isinstance(from_batch, torch.Tensor)
    assert torch.equal(embedder.decode(file), from_batch)


def test_the_loss_is_the_published_one(embedder: Predictor) -> None:
    outputs, targets = functional.normalize(torch.randn(6, 4), dim=1), torch.tensor([0, 0, 1, 1, 1, 2])
    losses = []
    for i in range(5):  # The last item has no partner.
        others = [j for j in range(6) if j != i]
        shares = torch.stack([outputs[i] @ outputs[j] / TEMPERATURE for j in others]).log_softmax(0)
        losses.append(-torch.stack([shares[n] for n, j in enumerate(others) if targets[j] == targets[i]]).mean())
    torch.testing.assert_close(embedder.loss(outputs, targets), torch.stack(losses).mean())


def test_the_loss_is_smaller_where_alike_items_are_near(embedder: Predictor) -> None:
    targets = torch.tensor([0, 0, 1, 1])
    assert embedder.loss(_places(0, 0.1, 3, 3.1), targets) < embedder.loss(_places(0, 3, 0.1, 3.1), targets)


def test_the_loss_has_gradients_everywhere_and_none_without_partners(embedder: Predictor) -> None:
    outputs = functional.normalize(torch.randn(4, 3), dim=1).requires_grad_()
    torch.autograd.backward(embedder.loss(outputs, torch.tensor([0, 0, 1, 2])))
    assert outputs.grad is not None
    assert bool(outputs.grad.isfinite().all())
    assert embedder.loss(outputs, torch.arange(4)).item() == 0.0


def test_the_metric_is_the_share_whose_nearest_other_is_alike(embedder: Predictor) -> None:
    # The last lies nearer to the second than to the third, which is its like.
    assert embedder.metric(_places(0, 0.1, 3, 1.4), torch.tensor([0, 0, 1, 1])) == 0.75


def test_the_metric_of_a_lone_item_is_0(embedder: Predictor) -> None:
    assert embedder.metric(_places(0), torch.tensor([0])) == 0.0


@pytest.mark.parametrize("size", [None, 1, 2_001, "64", 64.0, True])
def test_a_wrong_embedding_size_is_named(config: dict[str, Any], size: object) -> None:
    config["arch_options"] = {"widths": [2, 4, 8], "embedding_size": size}
    with pytest.raises(InvalidSpecError, match=r"arch_options\.embedding_size"):
        build_untrained(ModelSpec.from_config("m", 1, config), "cpu")
