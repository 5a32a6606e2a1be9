"""Architecture `occupied`: a network that keeps its device busy for a given time, and the processor for none.

As a plugin (`TORCHQUEUE_PLUGINS`) it stands for a GPU on a machine without one: load, web and databases have the
processors to themselves, and the capacity is known.
"""

import time
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from ml.spec import InputSpec


class Occupied(nn.Module):
    """Takes a time for each batch and for each of its items.

    Args:
        batch_ms: For a batch.
        item_ms: For each item.
        n_inputs: Numbers in one item.
        n_outputs: Of an answer.
    """

    def __init__(self, batch_ms: float, item_ms: float, n_inputs: int, n_outputs: int) -> None:
        super().__init__()
        self._batch_s, self._item_s = batch_ms / 1000, item_ms / 1000
        self.layer = nn.Linear(n_inputs, n_outputs)

    def forward(self, items: Tensor) -> Tensor:
        """Answer a batch, [n, inputs] to [n, outputs]."""
        time.sleep(self._batch_s + self._item_s * len(items))
        answers: Tensor = self.layer(items)
        return answers


def build_occupied(options: Mapping[str, Any], input_spec: InputSpec, n_outputs: int) -> nn.Module:
    """Build it for vectors."""
    return Occupied(options.get("batch_ms", 0.0), options.get("item_ms", 0.0), input_spec.size, n_outputs)


ARCHITECTURES = {"occupied": build_occupied}
