"""The architectures that a model's configuration may name."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from ml.architectures.fashion_cnn import build_fashion_cnn
from ml.architectures.mlp import build_mlp
from ml.architectures.tabular_resnet import build_tabular_resnet
from ml.errors import UnknownArchitectureError
from ml.spec import InputSpec, ModelSpec

Builder = Callable[[Mapping[str, Any], InputSpec, int], nn.Module]
"""From the options, the input and the number of outputs to a network with fresh weights."""

ARCHITECTURES: dict[str, Builder] = {
    "fashion-cnn": build_fashion_cnn,
    "mlp": build_mlp,
    "tabular-resnet": build_tabular_resnet,
}


def build_module(spec: ModelSpec, n_outputs: int) -> nn.Module:
    """Build the network that ``spec`` names, with fresh weights, on the CPU.

    Args:
        spec: What the model is.
        n_outputs: Numbers that its kind wants for one item; see ``ml.predictor.Predictor.count_outputs``.

    Raises:
        UnknownArchitectureError: No builder has that name.
        InvalidSpecError: The builder refuses the options.
    """
    builder = ARCHITECTURES.get(spec.arch)
    if builder is None:
        known = ", ".join(sorted(ARCHITECTURES))
        raise UnknownArchitectureError(f"There is no architecture {spec.arch!r}; known are: {known}.")
    return builder(spec.arch_options, spec.input, n_outputs)
