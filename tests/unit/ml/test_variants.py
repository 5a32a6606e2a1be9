"""`ml.variants`: other ways to run a network, with float32 at both ends."""

import pytest
import torch
from torch import Tensor, nn

from ml.choices import TuningRules, Variant
from ml.errors import VariantError
from ml.kinds import build_untrained
from ml.predictor import Predictor
from ml.spec import ModelSpec
from ml.variants import apply_variant, list_candidates, list_refinements, warm_sizes


@pytest.fixture
def network(image_spec: ModelSpec) -> Predictor:
    """A network with convolutions and batch normalisations that have seen data."""
    predictor = build_untrained(image_spec, "cpu")
    predictor.module.train()
    predictor.forward(torch.randint(0, 256, (16, 1, 28, 28), dtype=torch.uint8))
    predictor.module.eval()
    return predictor


@pytest.fixture
def items() -> Tensor:
    return torch.randint(0, 256, (3, 1, 28, 28), dtype=torch.uint8)


class Named(nn.Module):
    """Answers with tensors by name and in order, as networks of other libraries do."""

    def forward(self, batch: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
        return {"out": (batch, batch.argmax(dim=1))}


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("channels_last", [False, True])
def test_an_exact_way_gives_the_same_outputs(
    network: Predictor, items: Tensor, fused: bool, channels_last: bool
) -> None:
    changed = apply_variant(network, Variant(fused=fused, channels_last=channels_last), limit=4)
    torch.testing.assert_close(changed.forward(items), network.forward(items), rtol=1e-4, atol=1e-5)


def test_reduced_precision_takes_and_gives_float32(network: Predictor, items: Tensor) -> None:
    changed = apply_variant(network, Variant(dtype="bf16", channels_last=True, fused=True), limit=4)
    outputs = changed.forward(items)
    assert outputs.dtype == torch.float32
    assert {parameter.dtype for parameter in changed.module.parameters()} == {torch.bfloat16}
    torch.testing.assert_close(outputs, network.forward(items), rtol=0.1, atol=0.1)


def test_the_original_is_not_changed(network: Predictor, items: Tensor) -> None:
    before = network.forward(items)
    apply_variant(network, Variant(dtype="bf16", channels_last=True, fused=True), limit=4)
    assert torch.equal(network.forward(items), before)


def test_the_plain_way_is_the_network_itself(network: Predictor) -> None:
    assert apply_variant(network, Variant(), limit=4).module is network.module


def test_a_network_without_anything_to_fold_is_refused_with_the_reason(vector_spec: ModelSpec) -> None:
    predictor = build_untrained(vector_spec, "cpu")
    with pytest.raises(VariantError, match="fp32 fused: VariantError: no batch normalisation"):
        apply_variant(predictor, Variant(fused=True), limit=4)


def test_outputs_by_name_are_float32_too(vector_spec: ModelSpec) -> None:
    predictor = build_untrained(vector_spec, "cpu")
    predictor.module = Named()
    numbers, places = apply_variant(predictor, Variant(dtype="bf16"), limit=4).module(torch.ones(2, 3))["out"]
    assert (numbers.dtype, places.dtype) == (torch.float32, torch.int64)


def test_candidates_are_those_that_the_network_can_gain_from(network: Predictor, vector_spec: ModelSpec) -> None:
    assert [variant.name for variant in list_candidates(build_untrained(vector_spec, "cpu"))] == ["fp32", "bf16"]
    assert [variant.name for variant in list_candidates(network)] == [
        "fp32",
        "fp32 channels-last",
        "fp32 fused",
        "fp32 channels-last fused",
        "bf16 channels-last",
        "bf16 channels-last fused",
    ]


def test_compilation_is_tried_where_it_is_asked_for(network: Predictor) -> None:
    asked = TuningRules.from_config({"try": ["compile"]})
    assert list_refinements(Variant(fused=True), network, asked) == [Variant(fused=True, compile=True)]
    assert list_refinements(Variant(fused=True), network, TuningRules()) == []


def test_every_size_that_is_recorded_is_warmed() -> None:
    assert warm_sizes(Variant(), 48) == [1, 48]
    assert warm_sizes(Variant(graphs=True), 48) == [1, 2, 4, 8, 16, 32, 48]
    assert warm_sizes(Variant(graphs=True), 1) == [1]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
@pytest.mark.parametrize("variant", [Variant(dtype="fp16", channels_last=True), Variant(graphs=True)])
def test_a_gpu_gives_the_same_outputs(image_spec: ModelSpec, items: Tensor, variant: Variant) -> None:
    network = build_untrained(image_spec, "cuda")
    network.module.eval()
    with torch.inference_mode():
        changed = apply_variant(network, variant, limit=4)
        for count in (3, 1, 2, 3):
            expected = network.forward(items[:count])
            torch.testing.assert_close(changed.forward(items[:count]), expected, rtol=0.05, atol=0.05)
