"""Pictures decoded in processes of their own, which may die of a file without taking anything along.

A decoder is C code that reads what strangers send, and now and then one is found that a file can crash or take over.
In the process that holds the models and the device, that would cost every prediction it holds, or the machine. Here a
child of a few megabytes decodes, one file at a time, in memory that both see; no pixel is copied between them. What
the child may do is in ``ml.confinement``; what it says is checked in ``ml.sandbox_protocol``.

A child that dies, hangs or talks nonsense fails the file that it held and nothing else: the file is tried once more
in a fresh child, then refused.
"""

import logging
import mmap
import os
import socket
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from queue import SimpleQueue

import numpy as np

from ml.errors import DecodeFailedError, InvalidInputError
from ml.fork_server import ForkServer
from ml.images import FIELD, MAX_PIXELS, Picture
from ml.sandbox_protocol import (
    INPUT_BYTES,
    MEBIBYTE,
    MESSAGE_BYTES,
    ROOM_BYTES,
    Failure,
    Pixels,
    ProtocolError,
    Request,
    read_answer,
    read_greeting,
)

logger = logging.getLogger(__name__)

#: What a file took of the shared memory is given back to the system when it was more than this.
KEPT_BYTES = 8 * MEBIBYTE

#: A child that does not answer within so long is killed. A photo of 25 megapixels takes less than two seconds.
ITEM_TIMEOUT_S = 10.0

START_TIMEOUT_S = 60.0

#: Files after which a child is replaced, and seconds of its computing: whatever leaks is gone then.
ITEMS_PER_CHILD = 20_000
CPU_PER_CHILD_S = 300.0

#: A file that a child died of is tried once more: the child may have been killed for another reason.
ATTEMPTS = 2

MODULE = "ml.sandbox_child"


class _ChildDiedError(Exception):
    """Raised when a child ended, was silent too long, or said what none of ours would; it is killed by then."""

    def __init__(self, reason: str, *, timed_out: bool = False) -> None:
        super().__init__(reason)
        self.timed_out = timed_out


@dataclass(slots=True)
class _Slot:
    """The place of a child; None until one is needed, and after one died."""

    child: "_Child | None" = None


class Sandbox:
    """Children that decode, as many as threads that ask. Thread safe.

    Args:
        children: Files decoded at the same time.

    Attributes:
        deaths: Children that died of what they were given.
    """

    def __init__(self, children: int) -> None:
        self._slots = [_Slot() for _ in range(children)]
        self._free: SimpleQueue[_Slot] = SimpleQueue()
        # The children's server dies with the thread that started it, so that none outlives a parent that was killed.
        # This thread lives as long as the sandbox does.
        self._server: ForkServer | None = None
        self._starter = ThreadPoolExecutor(1, thread_name_prefix="sandbox")
        self._starting: list[Future[None]] = []
        for slot in self._slots:
            self._free.put(slot)
        self.deaths = 0

    def start(self) -> None:
        """Begin to start the children, so that the first files need not wait for them."""
        if not self._starting:
            self._starting = [self._starter.submit(self._fill, slot) for slot in self._slots]

    def close(self) -> None:
        """End the children."""
        self._starter.submit(self._end).result()
        self._starter.shutdown()

    @contextmanager
    def decoded(
        self, data: bytes, *, target_px: int, timeout_s: float = ITEM_TIMEOUT_S, max_pixels: int = MAX_PIXELS
    ) -> Iterator[Picture]:
        """Decode a file; its pixels are there while the block runs, and no longer.

        Args:
            data: The whole file.
            target_px: See ``ml.images.decode_picture``.
            timeout_s: For one attempt.
            max_pixels: As ``target_px``.

        Raises:
            InvalidInputError: See ``ml.images.decode_picture``; also when a child died of the file.
            DecodeFailedError: No child can be started, or our own code failed in it.
        """
        if len(data) > INPUT_BYTES:
            raise InvalidInputError(FIELD, f"The file has more than {INPUT_BYTES // MEBIBYTE} MiB.")
        slot = self._free.get()
        try:
            request = Request(len(data), max_pixels, target_px)
            child, pixels = self._decode(slot, data, request, timeout_s)
            try:
                yield child.picture(pixels)
            finally:
                child.tidy(len(data), pixels)
        finally:
            self._free.put(slot)

    def _decode(self, slot: _Slot, data: bytes, request: Request, timeout_s: float) -> "tuple[_Child, Pixels]":
        for attempt in range(1, ATTEMPTS + 1):
            child = self._child_of(slot)
            try:
                answer = child.ask(data, request, timeout_s)
            except _ChildDiedError as error:
                slot.child = None
                self.deaths += 1
                logger.warning("decoder_died", extra={"reason": str(error), "bytes": len(data), "attempt": attempt})
                if error.timed_out:
                    raise InvalidInputError(FIELD, "The image takes too long to decode.") from error
                continue
            if isinstance(answer, Pixels):
                return child, answer
            raise _error_of(*answer)
        raise InvalidInputError(FIELD, "The image makes its decoder fail; save it anew and send that.")

    def _child_of(self, slot: _Slot) -> "_Child":
        if slot.child is not None and slot.child.is_spent:
            slot.child.kill()
            slot.child = None
        if slot.child is None:
            # Also waits for the start that `start` asked for: one thread starts them, one after the other.
            self._starter.submit(self._fill, slot).result()
        assert slot.child is not None, "it was started, or starting it raised"
        return slot.child

    def _fill(self, slot: _Slot) -> None:
        if slot.child is not None:
            return
        try:
            if self._server is None or not self._server.is_alive:
                self._server = ForkServer(MODULE)
            slot.child = _Child(self._server)
        except OSError as error:
            raise DecodeFailedError("A decoding process cannot be started.") from error

    def _end(self) -> None:
        for slot in self._slots:
            if slot.child is not None:
                slot.child.kill()
        if self._server is not None:
            self._server.close()


class _Child:
    """One process and the memory that it shares with us. Used by one thread at a time.

    Args:
        server: Forks it.

    Raises:
        OSError: It cannot be started.
        DecodeFailedError: It ended before it could decode.
    """

    def __init__(self, server: ForkServer) -> None:
        self._server = server
        self._items = 0
        self._cpu_s = 0.0
        descriptor = os.memfd_create("torchqueue-pictures")
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            os.ftruncate(descriptor, INPUT_BYTES + ROOM_BYTES)
            self._memory = mmap.mmap(descriptor, INPUT_BYTES + ROOM_BYTES)
            self.pid = server.fork(theirs.fileno(), descriptor)
        except OSError:
            self._channel.close()
            raise
        finally:
            os.close(descriptor)
            theirs.close()
        self._greet()

    @property
    def is_spent(self) -> bool:
        """Whether it has done enough for one life."""
        return self._items >= ITEMS_PER_CHILD or self._cpu_s >= CPU_PER_CHILD_S

    def ask(self, data: bytes, request: Request, timeout_s: float) -> Pixels | tuple[Failure, str]:
        """Let it decode a file.

        Raises:
            _ChildDiedError: It died, or was killed since it did not answer.
        """
        self._items += 1
        self._memory[: len(data)] = data
        self._channel.settimeout(timeout_s)
        try:
            self._channel.send(request.write())
            message = self._channel.recv(MESSAGE_BYTES)
            answer = read_answer(message, ROOM_BYTES) if message else None
        except TimeoutError as error:
            self.kill()
            raise _ChildDiedError("it did not answer in time", timed_out=True) from error
        except (OSError, ProtocolError) as error:
            self.kill()
            raise _ChildDiedError(str(error)) from error
        if answer is None:
            raise _ChildDiedError(f"it ended with {self.kill()}")
        if isinstance(answer, Pixels):
            self._cpu_s = answer.cpu_s
        return answer

    def picture(self, pixels: Pixels) -> Picture:
        """What it decoded, where it lies."""
        shape = (pixels.rows, pixels.columns, 3)
        count = pixels.rows * pixels.columns * 3
        row = np.frombuffer(self._memory, dtype=np.uint8, count=count, offset=INPUT_BYTES)
        return Picture(row.reshape(shape), pixels.height, pixels.width, pixels.reduction)

    def tidy(self, input_bytes: int, pixels: Pixels) -> None:
        """Give the memory of a large file back to the system."""
        if input_bytes + pixels.rows * pixels.columns * 3 > KEPT_BYTES:
            self._memory.madvise(mmap.MADV_REMOVE)

    def kill(self) -> int | None:
        """End it, whatever it does. Returns how it ended, where that is known."""
        try:
            return self._server.end(self.pid)
        finally:
            self._channel.close()

    def _greet(self) -> None:
        self._channel.settimeout(START_TIMEOUT_S)
        try:
            confinement = read_greeting(self._channel.recv(MESSAGE_BYTES))
        except (OSError, ProtocolError) as error:
            raise DecodeFailedError(f"A decoding process ended at its start ({self.kill()}).") from error
        if not confinement.is_closed:
            logger.warning("decoder_not_confined")


def _error_of(failure: Failure, text: str) -> Exception:
    if failure is Failure.INVALID:
        return InvalidInputError(FIELD, text)
    if failure is Failure.MEMORY:
        return InvalidInputError(FIELD, "The image needs more memory to decode than any should.")
    logger.error("decoder_fault", extra={"error": text})
    return DecodeFailedError(f"Decoding failed with {text}.")
