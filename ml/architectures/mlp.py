"""A plain multi-layer perceptron on a vector of numbers.

Shapes: B batch, D length of the vector, K labels.
"""

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from torch import nn

from ml.errors import InvalidSpecError
from ml.spec import InputSpec

DEFAULT_HIDDEN = (8,)


def build_mlp(options: Mapping[str, Any], input_spec: InputSpec, n_labels: int) -> nn.Module:
    """Build layers ``[B, D]`` float32 -> ``[B, K]`` logits; option ``hidden`` lists the hidden widths.

    Two labels need only one number to tell them apart, so the output is then ``[B, 1]``, above 0 for the second label.

    Raises:
        InvalidSpecError: The hidden widths are no list of positive numbers, or the input is no vector.
    """
    hidden = options.get("hidden", list(DEFAULT_HIDDEN))
    if not isinstance(hidden, list) or not all(type(width) is int and width > 0 for width in hidden):
        raise InvalidSpecError("arch_options.hidden", "must be a list of whole numbers above 0.")
    if input_spec.type != "vector":
        raise InvalidSpecError("input.type", "must be 'vector' for mlp.")
    n_outputs = 1 if n_labels == 2 else n_labels
    layers: list[nn.Module] = []
    for n_in, n_out in pairwise([input_spec.size, *hidden]):
        layers += [nn.Linear(n_in, n_out), nn.Tanh()]
    layers.append(nn.Linear([input_spec.size, *hidden][-1], n_outputs))
    return nn.Sequential(*layers)
