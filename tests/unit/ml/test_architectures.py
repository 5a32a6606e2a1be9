from typing import Any

import pytest
import torch
from torch import nn

from ml.architectures.registry import build_module
from ml.errors import InvalidSpecError, UnknownArchitectureError
from ml.spec import ModelSpec


def _build(config: dict[str, Any], **changes: Any) -> nn.Module:
    spec = ModelSpec.from_config("m", 1, {**config, **changes})
    return build_module(spec, len(spec.labels))


def test_fashion_cnn_gives_one_logit_a_label(image_config: dict[str, Any]) -> None:
    logits = _build(image_config)(torch.zeros(2, 1, 28, 28))
    assert logits.shape == (2, 3)
    assert logits.dtype == torch.float32


def test_mlp_gives_one_logit_for_two_labels(vector_config: dict[str, Any]) -> None:
    assert _build(vector_config)(torch.zeros(5, 2)).shape == (5, 1)


def test_mlp_gives_one_logit_a_label_for_more(vector_config: dict[str, Any]) -> None:
    assert _build(vector_config, labels=["a", "b", "c"])(torch.zeros(5, 2)).shape == (5, 3)


def test_mlp_without_hidden_layers_is_linear(vector_config: dict[str, Any]) -> None:
    assert _build(vector_config, arch_options={"hidden": []})(torch.zeros(1, 2)).shape == (1, 1)


def test_tabular_resnet_gives_as_many_numbers_as_its_kind_wants(record_config: dict[str, Any]) -> None:
    spec = ModelSpec.from_config("m", 1, record_config)
    outputs = build_module(spec, 3)(torch.tensor([[0.7, 1.0], [2.0, 0.0]]))
    assert (outputs.shape, outputs.dtype) == ((2, 3), torch.float32)


@pytest.mark.parametrize("kept", ["number", "choice"])
def test_tabular_resnet_takes_numbers_alone_and_choices_alone(record_config: dict[str, Any], kept: str) -> None:
    fields = [field for field in record_config["input"]["fields"] if field["type"] == kept]
    module = _build(record_config, input={"type": "record", "fields": fields}, labels=["a", "b"])
    assert module(torch.ones(4, 1)).shape == (4, 2)


def test_tabular_resnet_tells_every_choice_of_every_field_apart(record_config: dict[str, Any]) -> None:
    fields = [{"name": name, "type": "choice", "choices": ["a", "b", "c"]} for name in "xy"]
    module = _build(record_config, input={"type": "record", "fields": fields}, labels=["a", "b"])
    records = torch.cartesian_prod(torch.arange(3.0), torch.arange(3.0))
    assert len(torch.unique(module(records), dim=0)) == 9


def test_tabular_resnet_standardises_by_what_the_fields_state(record_config: dict[str, Any]) -> None:
    shifted = [{"name": "carat", "type": "number", "mean": 100.0, "std": 10.0}]
    plain = _build(
        record_config, input={"type": "record", "fields": [{"name": "carat", "type": "number"}]}, labels=["a"]
    )
    module = _build(record_config, input={"type": "record", "fields": shifted}, labels=["a"])
    module.load_state_dict(plain.state_dict())
    torch.testing.assert_close(module(torch.tensor([[120.0]])), plain(torch.tensor([[2.0]])))


@pytest.mark.parametrize("option", ["width", "blocks", "embedding", "frequencies"])
@pytest.mark.parametrize("size", [0, 2.0, "8"])
def test_a_wrong_size_of_tabular_resnet_is_named(record_config: dict[str, Any], option: str, size: object) -> None:
    with pytest.raises(InvalidSpecError, match=rf"arch_options\.{option}"):
        _build(record_config, arch_options={option: size})


@pytest.mark.parametrize("widths", [[8, 16], [8, 16, 0], "8", [8, 16, 32.0]])
def test_wrong_widths_are_named(image_config: dict[str, Any], widths: object) -> None:
    with pytest.raises(InvalidSpecError, match=r"arch_options\.widths"):
        _build(image_config, arch_options={"widths": widths})


@pytest.mark.parametrize("hidden", [8, [0], ["8"]])
def test_wrong_hidden_layers_are_named(vector_config: dict[str, Any], hidden: object) -> None:
    with pytest.raises(InvalidSpecError, match=r"arch_options\.hidden"):
        _build(vector_config, arch_options={"hidden": hidden})


@pytest.mark.parametrize("arch", ["mlp", "fashion-cnn", "tabular-resnet"])
def test_an_input_that_the_architecture_cannot_take_is_named(
    vector_config: dict[str, Any], image_config: dict[str, Any], arch: str
) -> None:
    config = image_config if arch == "mlp" else vector_config
    with pytest.raises(InvalidSpecError, match=r"input\.type"):
        _build(config, arch=arch, arch_options={})


def test_an_unknown_architecture_is_answered_with_the_known(vector_config: dict[str, Any]) -> None:
    with pytest.raises(
        UnknownArchitectureError, match=r"known are: .*fashion-cnn, fashion-embedder, garment-unet, mlp"
    ):
        _build(vector_config, arch="transformer")
