"""Decoding beside the device: items as they were sent become tensors, on threads, in a sandbox, or on the GPU itself.

Shapes: C channels, S side of the square.
"""

import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from ml.errors import DecodeFailedError, InvalidInputError, NotReachedError
from ml.picture_source import decoding_in
from ml.predictor import Payload, Predictor
from ml.sandbox import ITEM_TIMEOUT_S, Sandbox
from ml.spec import InputSpec

logger = logging.getLogger(__name__)

Decoded = Tensor | InvalidInputError | DecodeFailedError | NotReachedError
"""One item between ``decode`` and ``compute``."""


BATCH_TIME_S = 25.0
"""Files that hang may keep a batch for about so long; those behind them get ``LEAST_TIME_S`` each. A claim is worth a
minute, and the good files of a batch must be answered within it."""

LEAST_TIME_S = 1.0

LAST_TURN_S = 40.0
"""After so long no further item of a batch is begun: a batch that outlasts its claim counts as one that its worker died
of, in all its items."""

DecodePhotos = Callable[[Sequence[Payload], InputSpec, torch.device], list[Tensor | None]]
"""See ``ml.nvjpeg.decode_photos``."""


class DecodePool:
    """Decodes the items of a batch side by side.

    Args:
        device: Where the models are; on CUDA it decodes what it can itself.
        threads: Images decoded at the same time on the CPU.
        on_device: False decodes everything on the CPU, to compare.
        sandboxed: Whether the CPU decodes in processes of their own, one for each thread; see ``ml.sandbox``.
    """

    def __init__(self, device: torch.device, threads: int, *, on_device: bool = True, sandboxed: bool = False) -> None:
        self._device = device
        self._decode_photos = _find_gpu_decoder() if on_device and device.type == "cuda" else None
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="decode")
        self._sandbox = Sandbox(threads) if sandboxed else None

    def prepare(self, spec: InputSpec) -> None:
        """Get ready for items of this form."""
        if self._sandbox is not None and spec.type == "image":
            self._sandbox.start()

    def decoding(self) -> AbstractContextManager[None]:
        """Where this thread decodes what it reads by itself while the block runs: where items are decoded."""
        return nullcontext() if self._sandbox is None else decoding_in(self._sandbox)

    def close(self) -> None:
        """End the threads and processes."""
        self._threads.shutdown()
        if self._sandbox is not None:
            self._sandbox.close()

    def decode(self, predictor: Predictor, payloads: Sequence[Payload]) -> list[Decoded]:
        """Turn items into tensors, in order; see ``Engine.decode``."""
        if predictor.spec.input.type != "image":
            # Handing a few numbers to another thread costs more than converting them.
            return list(predictor.decode_batch(payloads))
        squares: list[Tensor | None] = [None] * len(payloads)
        if self._decode_photos is not None and predictor.decodes_plain_images:  # pragma: no cover - needs a GPU
            squares = self._decode_photos(payloads, predictor.spec.input, self._device)
        left = [payload for payload, square in zip(payloads, squares, strict=True) if square is None]
        rest = iter(self._decode_on_cpu(predictor, left))
        return [next(rest) if square is None else square for square in squares]

    def _decode_on_cpu(self, predictor: Predictor, payloads: Sequence[Payload]) -> list[Decoded]:
        began = time.monotonic()
        if len(payloads) == 1:
            return [self._decode_one(predictor, payloads[0], began)]
        return list(self._threads.map(lambda payload: self._decode_one(predictor, payload, began), payloads))

    def _decode_one(self, predictor: Predictor, payload: Payload, began: float) -> Decoded:
        passed_s = time.monotonic() - began
        if passed_s > LAST_TURN_S:
            return NotReachedError(f"Its batch was decoded for {LAST_TURN_S:.0f} seconds before its turn came.")
        if self._sandbox is None:
            return _decode_one(predictor, payload)
        timeout_s = min(ITEM_TIMEOUT_S, max(LEAST_TIME_S, BATCH_TIME_S - passed_s))
        with decoding_in(self._sandbox, timeout_s):
            return _decode_one(predictor, payload)


def _find_gpu_decoder() -> DecodePhotos | None:  # pragma: no cover - needs a GPU
    try:
        # Late, because a worker without a GPU does without the memory that torchvision takes.
        from ml.nvjpeg import decode_photos  # noqa: PLC0415
    except ImportError as error:
        logger.warning("nvjpeg_unavailable", extra={"reason": str(error)})
        return None
    return decode_photos


def _decode_one(predictor: Predictor, payload: Payload) -> Decoded:
    try:
        return predictor.decode(payload)
    except (InvalidInputError, DecodeFailedError) as error:
        return error
    # A fault in our own decoding must fail this item only, not the batch that it happens to be in.
    except Exception as error:
        logger.exception("decode_failed", extra={"model": predictor.spec.name, "version": predictor.spec.version})
        failure = DecodeFailedError(f"Decoding failed with {type(error).__name__}.")
        failure.__cause__ = error
        return failure


def stack(items: Sequence[Tensor], device: torch.device) -> Tensor:
    """``[B, ...]`` from B items of one shape, on the device, or on their way to it."""
    if device.type != "cuda" or all(item.device == device for item in items):
        return torch.stack(list(items))
    return _stack_from_host(items, device)  # pragma: no cover - needs a GPU


def _stack_from_host(items: Sequence[Tensor], device: torch.device) -> Tensor:  # pragma: no cover - needs a GPU
    # Only from pinned memory does a copy run beside the host. torch keeps such buffers and hands one out again when its
    # copy is over, so none is allocated after the first batches.
    pinned = torch.empty((len(items), *items[0].shape), dtype=items[0].dtype, pin_memory=True)
    for place, item in enumerate(items):
        if item.device != device:
            pinned[place] = item
    batch = pinned.to(device, non_blocking=True)
    for place, item in enumerate(items):
        if item.device == device:
            batch[place] = item
    return batch
