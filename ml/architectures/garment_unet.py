"""A small U-Net (Ronneberger et al. 2015, arXiv:1505.04597) that is fast on CPUs. Our own, trained from nothing.

Shapes: B batch, C channels, H height, W width, K labels.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ml.errors import InvalidSpecError
from ml.spec import InputSpec

DEFAULT_WIDTHS = (16, 40, 72, 120)
"""Channels at a half, a quarter, an eighth and a sixteenth of the resolution."""

SEPARABLE_BLOCKS = 2
"""At the coarsest level, where a place sees a whole garment; more depth there is cheap."""

STRIDE = 16
"""The input's side must be a multiple of it."""


def build_garment_unet(options: Mapping[str, Any], input_spec: InputSpec, n_labels: int) -> nn.Module:
    """Build a ``GarmentUNet``; option ``widths`` is a list of four channel counts.

    Raises:
        InvalidSpecError: The widths are not four positive numbers, or the input is no image of a fitting size.
    """
    widths = options.get("widths", list(DEFAULT_WIDTHS))
    numbers = isinstance(widths, list) and all(type(width) is int and width > 0 for width in widths)
    if not numbers or len(widths) != len(DEFAULT_WIDTHS):
        raise InvalidSpecError("arch_options.widths", "must be a list of four whole numbers above 0.")
    if input_spec.type != "image":
        raise InvalidSpecError("input.type", "must be 'image' for garment-unet.")
    if input_spec.size % STRIDE:
        raise InvalidSpecError("input.size", f"must be a multiple of {STRIDE} for garment-unet.")
    return GarmentUNet(tuple(widths), channels=input_spec.channels, n_labels=n_labels)


class GarmentUNet(nn.Module):
    """Input ``[B, C, H, W]`` float32, normalised, H and W multiples of 16; output logits ``[B, K, H, W]``.

    Half the resolution is the finest that is computed at, where most of the time would go otherwise; the last layer
    gives each of its places four pixels (Shi et al. 2016, arXiv:1609.05158), so that edges stay sharp.
    """

    def __init__(self, widths: tuple[int, ...], *, channels: int, n_labels: int) -> None:
        super().__init__()
        half, quarter, eighth, sixteenth = widths
        self.down = nn.ModuleList(
            [
                _conv(channels, half, stride=2),
                nn.Sequential(_conv(half, quarter, stride=2), Residual(quarter)),
                nn.Sequential(_conv(quarter, eighth, stride=2), Residual(eighth), Residual(eighth)),
                nn.Sequential(
                    _conv(eighth, sixteenth, stride=2),
                    Residual(sixteenth),
                    *(Residual(sixteenth, separable=True) for _ in range(SEPARABLE_BLOCKS)),
                ),
            ]
        )
        self.up = nn.ModuleList([Merge(sixteenth, eighth), Merge(eighth, quarter), Merge(quarter, half)])
        self.head = nn.Sequential(nn.Conv2d(half, 4 * n_labels, kernel_size=1), nn.PixelShuffle(2))

    def forward(self, image_bchw: Tensor) -> Tensor:
        """See the class."""
        levels = []
        features = image_bchw
        for stage in self.down:
            features = stage(features)
            levels.append(features)
        for merge, finer in zip(self.up, reversed(levels[:-1]), strict=True):
            features = merge(features, finer)
        logits: Tensor = self.head(features)
        return logits


class Merge(nn.Module):
    """Brings coarse features to the place of finer ones: ``[B, C', H/2, W/2]`` and ``[B, C, H, W]`` -> the latter."""

    def __init__(self, coarse: int, fine: int) -> None:
        super().__init__()
        self.narrow = nn.Conv2d(coarse, fine, kernel_size=1, bias=False)
        self.mix = _conv(fine, fine)

    def forward(self, coarse_bchw: Tensor, fine_bchw: Tensor) -> Tensor:
        """See the class."""
        # Narrowed before it is enlarged: the same result as the other way round, for a quarter of the work.
        enlarged = functional.interpolate(self.narrow(coarse_bchw), scale_factor=2, mode="bilinear")
        mixed: Tensor = self.mix(enlarged + fine_bchw)
        return mixed


class Residual(nn.Module):
    """Two convolutions beside a straight path (He et al. 2015, arXiv:1512.03385); shape stays ``[B, C, H, W]``.

    Separable ones (Howard et al. 2017, arXiv:1704.04861) have an eighth of the weights.
    """

    def __init__(self, width: int, *, separable: bool = False) -> None:
        super().__init__()
        build = _separable_conv if separable else _conv
        self.body = nn.Sequential(build(width, width), build(width, width))

    def forward(self, features_bchw: Tensor) -> Tensor:
        """See the class."""
        changed: Tensor = torch.add(features_bchw, self.body(features_bchw))
        return changed


def _conv(n_in: int, n_out: int, *, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        # The normalisation that follows has a bias of its own.
        nn.Conv2d(n_in, n_out, kernel_size=3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(n_out),
        nn.ReLU(inplace=True),
    )


def _separable_conv(n_in: int, n_out: int) -> nn.Sequential:
    """Each channel over its neighbourhood, then all channels of a place."""
    return nn.Sequential(
        nn.Conv2d(n_in, n_in, kernel_size=3, padding=1, groups=n_in, bias=False),
        nn.Conv2d(n_in, n_out, kernel_size=1, bias=False),
        nn.BatchNorm2d(n_out),
        nn.ReLU(inplace=True),
    )
