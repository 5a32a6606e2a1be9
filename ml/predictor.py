"""What every kind of model can do; one file a kind fulfils it, and ``ml.kinds`` lists them.

Shapes: B batch; ``...`` whatever the kind and the input specification say.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ml.errors import InvalidInputError, NonFiniteOutputError
from ml.spec import ModelSpec

Payload = bytes | Sequence[float]
"""One item as it was sent: the bytes of an image file, or the numbers of a vector."""

Result = dict[str, Any]
"""One answer, made of what JSON can carry and of `File` values, which the kind's finisher puts elsewhere."""


@dataclass(frozen=True, slots=True)
class File:
    """A part of an answer that is too large for a row, or no text.

    Args:
        media_type: What the bytes are, e.g. ``image/png``.
        data: The whole file.
    """

    media_type: str
    data: bytes


class Predictor(ABC):
    """A model ready for use: its specification, its network, and the device that the network is on.

    Args:
        spec: What the model is.
        module: The network; moved to ``device`` here.
        device: Where ``forward`` runs.
    """

    def __init__(self, spec: ModelSpec, module: nn.Module, device: torch.device) -> None:
        self.spec = spec
        self.module = module.to(device)
        self.device = device

    @abstractmethod
    def decode(self, payload: Payload) -> Tensor:
        """Turn one item into the tensor that ``forward`` takes a stack of. Thread safe; never touches the device.

        Returns:
            ``[C, H, W]`` uint8, 0..255, gray or RGB, for an image; ``[D]`` float32 for a vector. On the CPU.

        Raises:
            InvalidInputError: The item cannot be used.
        """

    @abstractmethod
    def decode_batch(self, payloads: Sequence[Payload]) -> list[Tensor | InvalidInputError]:
        """Decode several items in the calling thread; one that cannot be used leaves its error in its place."""

    @abstractmethod
    def forward(self, batch: Tensor) -> Tensor:
        """Run the network on stacked items.

        Args:
            batch: ``[B, ...]`` as ``decode`` gives them; images may also be float32, 0..255. On any device.

        Returns:
            ``[B, ...]`` raw outputs, on the device. The caller decides about gradients.
        """

    @abstractmethod
    def encode_batch(self, outputs: Tensor) -> list[Result | NonFiniteOutputError]:
        """Turn raw outputs ``[B, ...]`` into B results, in order; a NaN or infinity leaves an error in its place."""

    def encode(self, output: Tensor) -> Result:
        """Turn the raw output of one item, without its batch dimension, into its result.

        Raises:
            NonFiniteOutputError: The output holds NaN or infinity.
        """
        result = self.encode_batch(output.unsqueeze(0))[0]
        if isinstance(result, NonFiniteOutputError):
            raise result
        return result

    @abstractmethod
    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """What training makes small: a scalar that gradients flow through."""

    @abstractmethod
    def metric(self, outputs: Tensor, targets: Tensor) -> float:
        """How good the outputs are, in the kind's own measure."""
