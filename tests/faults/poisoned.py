"""A plugin of the suite's workers: a network that fails on marked inputs, a decoder that dies of marked files.

Architecture `poisoned` is another one, named by its option `of`, that raises or answers NaN where the second number of
an input says so (`tests.faults.marks`). Each of its forwards is written down, so that a test can count them.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ml import sandbox
from ml.architectures.registry import find_builder
from ml.spec import InputSpec
from tests.faults.marks import DECODER, FORWARDS, NAN, RAISES

#: A decoder as ever, but for files that end with the name of a deed.
sandbox.MODULE = DECODER


def build_poisoned(options: Mapping[str, Any], input_spec: InputSpec, n_outputs: int) -> nn.Module:
    """Build the network that is poisoned; its weights are those of the other one."""
    others = {name: value for name, value in options.items() if name != "of"}
    network = find_builder(options["of"])(others, input_spec, n_outputs)
    network.register_forward_hook(_poison if input_spec.type == "vector" else _count)
    return network


def _poison(_network: nn.Module, given: tuple[Tensor], answers: Tensor) -> Tensor:
    _count(_network, given, answers)
    marks = given[0][:, 1]
    if (marks == RAISES).any():
        raise ValueError("a poisoned input")
    return torch.where((marks == NAN)[:, None], torch.nan, answers)


def _count(_network: nn.Module, given: tuple[Tensor], _answers: Tensor) -> None:
    with Path(os.environ[FORWARDS]).open("a") as lines:
        lines.write(f"{len(given[0])}\n")


ARCHITECTURES = {"poisoned": build_poisoned}
