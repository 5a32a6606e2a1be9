"""A small residual convolutional network for 28 x 28 gray garments. Our own, trained from nothing.

Shapes: B batch, C channels, H height, W width, K labels.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from ml.errors import InvalidSpecError
from ml.spec import InputSpec

DEFAULT_WIDTHS = (32, 64, 128)
"""Channels at full, half and quarter resolution."""


def build_fashion_cnn(options: Mapping[str, Any], input_spec: InputSpec, n_labels: int) -> nn.Module:
    """Build a ``FashionCNN``; option ``widths`` is a list of three channel counts.

    Raises:
        InvalidSpecError: The widths are not three positive numbers, or the input is no image.
    """
    widths = options.get("widths", list(DEFAULT_WIDTHS))
    numbers = isinstance(widths, list) and all(type(width) is int and width > 0 for width in widths)
    if not numbers or len(widths) != len(DEFAULT_WIDTHS):
        raise InvalidSpecError("arch_options.widths", "must be a list of three whole numbers above 0.")
    if input_spec.type != "image":
        raise InvalidSpecError("input.type", "must be 'image' for fashion-cnn.")
    return FashionCNN(tuple(widths), channels=input_spec.channels, n_labels=n_labels)


class FashionCNN(nn.Module):
    """Input ``[B, C, H, W]`` float32, normalised; output ``[B, K]`` logits."""

    def __init__(self, widths: tuple[int, ...], *, channels: int, n_labels: int) -> None:
        super().__init__()
        full, half, quarter = widths
        self.features = nn.Sequential(
            _conv(channels, full),
            _conv(full, half, stride=2),
            Residual(half),
            _conv(half, quarter, stride=2),
            Residual(quarter),
            # The strongest response anywhere decides: a strap or a heel is small and may sit at any place.
            nn.AdaptiveMaxPool2d(1),
            nn.Flatten(),
        )
        self.head = nn.Linear(quarter, n_labels)

    def forward(self, image_bchw: Tensor) -> Tensor:
        """See the class."""
        logits_bk: Tensor = self.head(self.features(image_bchw))
        return logits_bk


class Residual(nn.Module):
    """Two convolutions beside a straight path (He et al. 2015, arXiv:1512.03385); shape stays ``[B, C, H, W]``."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(_conv(width, width), _conv(width, width))

    def forward(self, features_bchw: Tensor) -> Tensor:
        """See the class."""
        changed: Tensor = features_bchw + self.body(features_bchw)
        return changed


def _conv(n_in: int, n_out: int, *, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        # The normalisation that follows has a bias of its own.
        nn.Conv2d(n_in, n_out, kernel_size=3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(n_out),
        nn.ReLU(inplace=True),
    )
