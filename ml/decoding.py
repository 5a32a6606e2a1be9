"""Decoding beside the device: items as they were sent become tensors, on threads, or JPEGs on the GPU itself.

Shapes: C channels, S side of the square.
"""

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from ml.errors import DecodeFailedError, InvalidInputError
from ml.predictor import Payload, Predictor
from ml.spec import InputSpec

logger = logging.getLogger(__name__)

Decoded = Tensor | InvalidInputError | DecodeFailedError
"""One item between ``decode`` and ``compute``."""


DecodePhotos = Callable[[Sequence[Payload], InputSpec, torch.device], list[Tensor | None]]
"""See ``ml.nvjpeg.decode_photos``."""


class DecodePool:
    """Decodes the items of a batch side by side.

    Args:
        device: Where the models are; on CUDA it decodes what it can itself.
        threads: Images decoded at the same time on the CPU.
        on_device: False decodes everything on the CPU, to compare.
    """

    def __init__(self, device: torch.device, threads: int, *, on_device: bool = True) -> None:
        self._device = device
        self._decode_photos = _find_gpu_decoder() if on_device and device.type == "cuda" else None
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="decode")

    def close(self) -> None:
        """End the threads."""
        self._threads.shutdown()

    def decode(self, predictor: Predictor, payloads: Sequence[Payload]) -> list[Decoded]:
        """Turn items into tensors, in order; an item that cannot be used leaves its error in its place."""
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
        if len(payloads) == 1:
            return [_decode_one(predictor, payloads[0])]
        return list(self._threads.map(lambda payload: _decode_one(predictor, payload), payloads))


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
    except InvalidInputError as error:
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
