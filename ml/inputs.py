"""From what was sent to a tensor: one decoder a type of input, shared by all kinds.

Shapes: C channels, H height, W width, D length of a vector, N items.
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ml.errors import InvalidInputError
from ml.picture_source import read_picture
from ml.predictor import Payload
from ml.preparation import find_preparation
from ml.records import RecordDecoder
from ml.spec import InputSpec, InputType

FIELD = "input"
"""The name that the request gives to what we decode."""

_NUMBER_TYPES = frozenset({int, float})
_MAX_FLOAT32 = torch.finfo(torch.float32).max


class ImageDecoder:
    """Bytes of a JPEG, PNG or WebP file -> ``[C, H, W]`` uint8, 0..255, gray (C = 1) or RGB (C = 3)."""

    def __init__(self, spec: InputSpec) -> None:
        self._spec = spec
        self._preparation = find_preparation(spec.preparation)
        self._target_px = math.ceil(spec.size * self._preparation.detail)

    def decode(self, payload: Payload) -> Tensor:
        """Decode and prepare one image.

        Raises:
            InvalidInputError: See ``ml.images.decode_picture``.
        """
        if not isinstance(payload, bytes | bytearray | memoryview):
            raise InvalidInputError(FIELD, "This model takes an image file, not numbers.")
        picture = read_picture(bytes(payload), target_px=self._target_px)
        return self._preparation.prepare(picture, self._spec.size, self._spec.channels)

    def decode_batch(self, payloads: Sequence[Payload]) -> list[Tensor | InvalidInputError]:
        """Decode one after another."""
        return [_keep_error(self, payload) for payload in payloads]


class VectorDecoder:
    """A list of numbers -> ``[D]`` float32, finite."""

    def __init__(self, spec: InputSpec) -> None:
        self._size = spec.size

    def decode(self, payload: Payload) -> Tensor:
        """Check and convert one vector.

        Raises:
            InvalidInputError: It has another length, or a member is no finite number within float32.
        """
        if isinstance(payload, str | bytes | bytearray | memoryview) or not isinstance(payload, Sequence):
            raise InvalidInputError(FIELD, f"This model takes a list of {self._size} numbers.")
        if len(payload) != self._size:
            raise InvalidInputError(FIELD, f"Expected {self._size} numbers, got {len(payload)}.")
        for index, value in enumerate(payload):
            _check_number(value, index)
        return torch.tensor(payload, dtype=torch.float32)

    def decode_batch(self, payloads: Sequence[Payload]) -> list[Tensor | InvalidInputError]:
        """Convert all in one call when all are good, which is the usual case; else each by itself."""
        if not all(self._is_plain(payload) for payload in payloads):
            return [_keep_error(self, payload) for payload in payloads]
        try:
            batch_nd = torch.tensor(payloads, dtype=torch.float32)
        except (OverflowError, RuntimeError):  # A whole number that no float can hold.
            return [_keep_error(self, payload) for payload in payloads]
        if not payloads or not bool(batch_nd.isfinite().all()):
            return [_keep_error(self, payload) for payload in payloads]
        return list(batch_nd.unbind(0))

    def _is_plain(self, payload: Payload) -> bool:
        return type(payload) is list and len(payload) == self._size and _NUMBER_TYPES.issuperset(map(type, payload))


Decoder = ImageDecoder | VectorDecoder | RecordDecoder

DECODERS: dict[InputType, Callable[[InputSpec], Decoder]] = {
    "image": ImageDecoder,
    "record": RecordDecoder,
    "vector": VectorDecoder,
}


def build_decoder(spec: InputSpec) -> Decoder:
    """The decoder for this type of input."""
    return DECODERS[spec.type](spec)


def _keep_error(decoder: Decoder, payload: Payload) -> Tensor | InvalidInputError:
    try:
        return decoder.decode(payload)
    except InvalidInputError as error:
        return error


def _check_number(value: object, index: int) -> None:
    field = f"{FIELD}[{index}]"
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidInputError(field, "Must be a number.")
    # Comparing, because converting a huge whole number to float would raise; NaN compares false too.
    if not -_MAX_FLOAT32 <= value <= _MAX_FLOAT32:
        raise InvalidInputError(field, f"Must be finite and at most {_MAX_FLOAT32:.2e} in size.")


def blank_item(spec: InputSpec) -> Tensor:
    """An item of zeros as the decoder would give it, to try a model with: ``[C, S, S]`` uint8, or ``[D]`` float32."""
    if spec.type == "image":
        return torch.zeros(spec.channels, spec.size, spec.size, dtype=torch.uint8)
    return torch.zeros(spec.size, dtype=torch.float32)
