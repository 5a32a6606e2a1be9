from typing import Any

import pytest
import torch
from torch import nn

from ml.architectures.registry import build_module
from ml.errors import InvalidSpecError, UnknownArchitectureError
from ml.spec import ModelSpec


def _build(config: dict[str, Any], **changes: Any) -> nn.Module:
    return build_module(ModelSpec.from_config("m", 1, {**config, **changes}))


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


@pytest.mark.parametrize("widths", [[8, 16], [8, 16, 0], "8", [8, 16, 32.0]])
def test_wrong_widths_are_named(image_config: dict[str, Any], widths: object) -> None:
    with pytest.raises(InvalidSpecError, match=r"arch_options\.widths"):
        _build(image_config, arch_options={"widths": widths})


@pytest.mark.parametrize("hidden", [8, [0], ["8"]])
def test_wrong_hidden_layers_are_named(vector_config: dict[str, Any], hidden: object) -> None:
    with pytest.raises(InvalidSpecError, match=r"arch_options\.hidden"):
        _build(vector_config, arch_options={"hidden": hidden})


@pytest.mark.parametrize("arch", ["mlp", "fashion-cnn"])
def test_an_input_that_the_architecture_cannot_take_is_named(
    vector_config: dict[str, Any], image_config: dict[str, Any], arch: str
) -> None:
    config = image_config if arch == "mlp" else vector_config
    with pytest.raises(InvalidSpecError, match=r"input\.type"):
        _build(config, arch=arch, arch_options={})


def test_an_unknown_architecture_is_answered_with_the_known(vector_config: dict[str, Any]) -> None:
    with pytest.raises(UnknownArchitectureError, match="known are: fashion-cnn, fashion-embedder, mlp"):
        _build(vector_config, arch="transformer")
