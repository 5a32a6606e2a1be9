"""The architectures that a model's configuration may name."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from ml.architectures.fashion_cnn import build_fashion_cnn
from ml.architectures.fashion_embedder import build_fashion_embedder
from ml.architectures.garment_unet import build_garment_unet
from ml.architectures.mlp import build_mlp
from ml.architectures.tabular_resnet import build_tabular_resnet
from ml.architectures.torchvision_classifiers import find_classifier
from ml.errors import UnknownArchitectureError
from ml.spec import InputSpec, ModelSpec

Builder = Callable[[Mapping[str, Any], InputSpec, int], nn.Module]
"""From the options, the input and the number of outputs to a network with fresh weights."""

ARCHITECTURES: dict[str, Builder] = {
    "fashion-cnn": build_fashion_cnn,
    "fashion-embedder": build_fashion_embedder,
    "garment-unet": build_garment_unet,
    "mlp": build_mlp,
    "tabular-resnet": build_tabular_resnet,
}


FAMILIES: dict[str, Callable[[str], Builder]] = {
    "torchvision": find_classifier,
}
"""By the word before the colon: from the word behind it to a builder."""


def build_module(spec: ModelSpec, n_outputs: int) -> nn.Module:
    """Build the network that ``spec`` names, with fresh weights, on the CPU.

    Args:
        spec: What the model is.
        n_outputs: Numbers that its kind wants for one item; see ``ml.predictor.Predictor.count_outputs``.

    Raises:
        UnknownArchitectureError: No builder has that name.
        InvalidSpecError: The builder refuses the options.
    """
    return find_builder(spec.arch)(spec.arch_options, spec.input, n_outputs)


def find_builder(arch: str) -> Builder:
    """Look an architecture up: ``mlp``, or a member of a family, ``torchvision:resnet18``.

    Raises:
        UnknownArchitectureError: No builder has that name.
    """
    family, _, member = arch.partition(":")
    if member and family in FAMILIES:
        return FAMILIES[family](member)
    builder = ARCHITECTURES.get(arch)
    if builder is None:
        known = ", ".join([*sorted(ARCHITECTURES), *(f"{name}:…" for name in sorted(FAMILIES))])
        raise UnknownArchitectureError(
            f"There is no architecture {arch!r}; known are: {known}. TORCHQUEUE_PLUGINS loads your own."
        )
    return builder
