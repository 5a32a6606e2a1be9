"""What `ml.sandbox` and its children say to each other: a few numbers a message, checked by whoever reads them.

Shapes: H height, W width of the file; h, w of the decoded pixels.
"""

import struct
from dataclasses import astuple, dataclass
from enum import IntEnum
from typing import Self

from ml.confinement import Confinement

REQUEST = struct.Struct("<III")
PIXELS = struct.Struct("<BIIIIId")
FAILURE = struct.Struct("<BB")

MEBIBYTE = 1024 * 1024

#: Largest file. The memory is taken only where it is written, so a limit far above what is accepted costs nothing.
INPUT_BYTES = 64 * MEBIBYTE

#: For pixels, which follow the file: a photo of the largest size that is accepted, decoded in full.
ROOM_BYTES = 80 * MEBIBYTE

GREETING = b"ready"

#: Longest message; a sentence for the sender is shorter.
MESSAGE_BYTES = 1024

_PIXELS_KIND = 1
_FAILURE_KIND = 2


class ProtocolError(Exception):
    """Raised when a child says what none of ours would."""


class Failure(IntEnum):
    """Why there are no pixels."""

    INVALID = 1
    """The file is at fault; the text says why."""

    MEMORY = 2
    FAULT = 3
    """Our code is at fault; the text names the error."""


@dataclass(frozen=True, slots=True)
class Request:
    """Decode the file at the beginning of the shared memory.

    Attributes:
        size: Bytes of the file.
        max_pixels: See ``ml.images.decode_picture``.
        target_px: Likewise; 0 for None.
    """

    size: int
    max_pixels: int
    target_px: int

    def write(self) -> bytes:
        """As it is sent."""
        return REQUEST.pack(*astuple(self))

    @classmethod
    def read(cls, message: bytes) -> Self:
        """As it is received."""
        return cls(*REQUEST.unpack(message))


@dataclass(frozen=True, slots=True)
class Pixels:
    """Where the pixels lie in the shared memory: ``[h, w, 3]``; see ``ml.images.Picture``.

    Attributes:
        rows: h.
        columns: w.
        height: H.
        width: W.
        reduction: As in ``Picture``.
        cpu_s: What the child has computed in its life.
    """

    rows: int
    columns: int
    height: int
    width: int
    reduction: int
    cpu_s: float


def greet(confinement: Confinement) -> bytes:
    """The first message of a child."""
    return GREETING + bytes([confinement.calls, confinement.network])


def read_greeting(message: bytes) -> Confinement:
    """What a child has given up.

    Raises:
        ProtocolError: It says something else.
    """
    if len(message) != len(GREETING) + 2 or not message.startswith(GREETING):
        raise ProtocolError("no greeting")
    return Confinement(calls=bool(message[-2]), network=bool(message[-1]))


def write_pixels(pixels: Pixels) -> bytes:
    """Tell where the pixels are."""
    return PIXELS.pack(_PIXELS_KIND, *astuple(pixels))


def write_failure(failure: Failure, text: str) -> bytes:
    """Tell why there are none."""
    return FAILURE.pack(_FAILURE_KIND, failure) + text.encode()[: MESSAGE_BYTES - FAILURE.size]


def read_answer(message: bytes, room_bytes: int) -> Pixels | tuple[Failure, str]:
    """Read what a child answers, and believe no number that cannot be.

    Args:
        message: As it was received.
        room_bytes: For pixels in the shared memory.

    Raises:
        ProtocolError: No child of ours would say this.
    """
    try:
        if message[:1] == bytes([_PIXELS_KIND]):
            return _check(Pixels(*PIXELS.unpack(message)[1:]), room_bytes)
        kind, failure = FAILURE.unpack_from(message)
        if kind == _FAILURE_KIND:
            return Failure(failure), message[FAILURE.size :].decode()
    except (struct.error, ValueError) as error:
        raise ProtocolError(str(error)) from error
    raise ProtocolError("an unknown message")


def _check(pixels: Pixels, room_bytes: int) -> Pixels:
    reduced = [-(-side // max(1, pixels.reduction)) for side in (pixels.height, pixels.width)]
    if reduced != [pixels.rows, pixels.columns] or not 0 < pixels.rows * pixels.columns * 3 <= room_bytes:
        raise ProtocolError("impossible sizes")
    return pixels
