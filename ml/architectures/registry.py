"""The architectures that a model's configuration may name."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from ml.architectures.fashion_cnn import build_fashion_cnn
from ml.architectures.garment_unet import build_garment_unet
from ml.architectures.mlp import build_mlp
from ml.errors import UnknownArchitectureError
from ml.spec import InputSpec, ModelSpec

Builder = Callable[[Mapping[str, Any], InputSpec, int], nn.Module]
"""From the options, the input and the number of labels to a network with fresh weights."""

ARCHITECTURES: dict[str, Builder] = {
    "fashion-cnn": build_fashion_cnn,
    "garment-unet": build_garment_unet,
    "mlp": build_mlp,
}


def build_module(spec: ModelSpec) -> nn.Module:
    """Build the network that ``spec`` names, with fresh weights, on the CPU.

    Raises:
        UnknownArchitectureError: No builder has that name.
        InvalidSpecError: The builder refuses the options.
    """
    builder = ARCHITECTURES.get(spec.arch)
    if builder is None:
        known = ", ".join(sorted(ARCHITECTURES))
        raise UnknownArchitectureError(f"There is no architecture {spec.arch!r}; known are: {known}.")
    return builder(spec.arch_options, spec.input, len(spec.labels))
