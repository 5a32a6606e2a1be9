"""What every kind of model can do; one file a kind fulfils it, and ``ml.kinds`` lists them.

Shapes: B batch; ``...`` whatever the kind and the input specification say.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ml.errors import InvalidInputError, InvalidTargetError, NonFiniteOutputError
from ml.spec import ModelSpec

Payload = bytes | Sequence[float] | Mapping[str, Any]
"""One item as it was sent: the bytes of an image file, the numbers of a vector, or the named values of a record."""

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


@dataclass(frozen=True, kw_only=True)
class Tolerance:
    """How far the answers of a faster way to run a network may be from those of float32.

    Attributes:
        min_agreement: Least share, 0..1, of items, or of what an answer consists of, that must come out the same, as
            the kind understands it.
        max_error: Most that any number of an answer may differ by, in the kind's own measure.
    """

    min_agreement: float
    max_error: float


@dataclass(frozen=True, kw_only=True)
class Deviation:
    """How far the answers of a faster way were from those of float32; measures as in ``Tolerance``."""

    agreement: float
    max_error: float


class Predictor(ABC):
    """A model ready for use: its specification, its network, and the device that the network is on.

    Args:
        spec: What the model is.
        module: The network; moved to ``device`` here.
        device: Where ``forward`` runs.
    """

    decodes_plain_images: ClassVar[bool] = False
    """Whether ``decode`` of an image is what ``ml.inputs.ImageDecoder`` does and nothing more: a GPU may do it then."""

    tolerance: ClassVar[Tolerance] = Tolerance(min_agreement=1.0, max_error=0.01)
    """What tuning allows this kind; see ``deviation``."""

    def __init__(self, spec: ModelSpec, module: nn.Module, device: torch.device) -> None:
        self.spec = spec
        self.module = module.to(device)
        self.device = device

    @classmethod
    def count_outputs(cls, spec: ModelSpec) -> int:
        """How many numbers the kind wants from the network for one item; one a label unless it says otherwise."""
        return len(spec.labels)

    @abstractmethod
    def decode(self, payload: Payload) -> Tensor:
        """Turn one item into the tensor that ``forward`` takes a stack of. Thread safe; never touches the device.

        Returns:
            On the CPU: ``[C, H, W]`` uint8, 0..255, gray or RGB, for an image; ``[D]`` float32 for a vector or record.

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
        """Turn the raw output ``[...]`` of one item, without its batch dimension, into its result.

        Raises:
            NonFiniteOutputError: The output holds NaN or infinity.
        """
        result = self.encode_batch(output.unsqueeze(0))[0]
        if isinstance(result, NonFiniteOutputError):
            raise result
        return result

    def check_outputs(self, outputs: Tensor) -> None:  # noqa: B027 - a kind may take any shape
        """Check that raw outputs ``[B, ...]`` have the shape that this kind needs, when a model is tried.

        Raises:
            ModelLoadError: They have not. A kind that does not override this takes any shape.
        """

    def encode_target(self, label: Any) -> float:
        """The right answer as feedback tells it, as one of the ``targets`` that ``loss`` takes: a number, or an index.

        Raises:
            InvalidTargetError: The network cannot answer so, or this kind does not learn from feedback.
        """
        raise InvalidTargetError(f"A model of kind {self.spec.kind!r} does not learn from {label!r}.")

    @abstractmethod
    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """What training makes small: a scalar that gradients flow through.

        Args:
            outputs: ``[B, ...]`` of ``forward``.
            targets: ``[B]`` as of ``encode_target``, or what the kind's own recipe gives; on the outputs' device.
        """

    @abstractmethod
    def metric(self, outputs: Tensor, targets: Tensor) -> float:
        """How good the outputs are, in the kind's own measure, the higher the better; arguments as of ``loss``."""

    def deviation(self, reference: Tensor, candidate: Tensor) -> Deviation:
        """Compare the outputs of a faster way with those of float32; a kind overrides it where it has a better measure.

        Here the error of an item is its largest difference, as a share of the largest number of its reference; items
        within ``tolerance.max_error`` agree.

        Args:
            reference: ``[B, ...]`` finite outputs of the network as it was written.
            candidate: The same shape, for the same items; finite.
        """
        scale = reference.flatten(1).abs().amax(dim=1).clamp(min=torch.finfo(torch.float32).tiny)
        errors = (candidate - reference).flatten(1).abs().amax(dim=1) / scale
        agreed = (errors <= self.tolerance.max_error).float().mean()
        return Deviation(agreement=float(agreed), max_error=float(errors.max()))


def describe_item(outputs: Tensor) -> str:
    """Say how many outputs ``[B, ...]`` hold for one item, for a message: ``10``, ``3 x 28 x 28``."""
    return " x ".join(str(size) for size in outputs.shape[1:]) or "1"
