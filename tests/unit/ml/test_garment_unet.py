from typing import Any

import pytest
import torch

from ml.architectures.garment_unet import build_garment_unet
from ml.errors import InvalidSpecError
from ml.spec import InputSpec

INPUT = InputSpec(type="image", size=64, channels=3, preparation="letterbox")


@pytest.mark.parametrize(("channels", "height", "width"), [(3, 64, 64), (1, 32, 48)])
def test_every_pixel_gets_a_logit_for_every_label(channels: int, height: int, width: int) -> None:
    spec = InputSpec(type="image", size=64, channels=channels, preparation="letterbox")
    module = build_garment_unet({"widths": [2, 3, 4, 5]}, spec, 7)
    logits = module(torch.randn(2, channels, height, width))
    assert (logits.shape, logits.dtype) == ((2, 7, height, width), torch.float32)


def test_every_parameter_learns() -> None:
    module = build_garment_unet({"widths": [2, 3, 4, 5]}, INPUT, 3)
    module(torch.randn(2, 3, 32, 32)).square().sum().backward()
    assert all(parameter.grad is not None for parameter in module.parameters())


@pytest.mark.parametrize("widths", [[1, 2, 3], [1, 2, 3, 0], [1, 2, 3, 4.0], "1234"])
def test_widths_that_are_not_four_numbers_are_refused(widths: Any) -> None:
    with pytest.raises(InvalidSpecError, match=r"^arch_options\.widths"):
        build_garment_unet({"widths": widths}, INPUT, 3)


def test_a_vector_is_refused() -> None:
    with pytest.raises(InvalidSpecError, match=r"^input\.type"):
        build_garment_unet({}, InputSpec(type="vector", size=64), 3)


def test_a_side_that_cannot_be_halved_four_times_is_refused() -> None:
    with pytest.raises(InvalidSpecError, match=r"^input\.size: must be a multiple of 16"):
        build_garment_unet({}, InputSpec(type="image", size=100, preparation="letterbox"), 3)
