"""JPEG photos decoded on the GPU by nvJPEG, and scaled there: the CPU reads nothing but headers.

What the GPU does not take (PNG, WebP, turned photos, CMYK, whatever is damaged) is left to the CPU, item by item.

Shapes: H height, W width, C channels, S side of the square.
"""

import logging
import warnings
from collections.abc import Iterator, Sequence

import torch
from PIL.JpegImagePlugin import JpegImageFile
from torch import Tensor
from torchvision.io import ImageReadMode, decode_jpeg

from ml.errors import InvalidInputError
from ml.images import open_image, read_orientation
from ml.predictor import Payload
from ml.preparation import Preparation, find_preparation
from ml.spec import InputSpec

logger = logging.getLogger(__name__)

PIXELS_AT_ONCE = 100_000_000
"""Pixels that are decoded in one call: three bytes each, or four floats each while they are scaled."""

UPRIGHT = 1


def decode_photos(payloads: Sequence[Payload], spec: InputSpec, device: torch.device) -> list[Tensor | None]:
    """Decode and prepare what the GPU can.

    Args:
        payloads: Files as they were sent.
        spec: What the network sees.
        device: A GPU.

    Returns:
        ``[C, S, S]`` uint8 on the device, in order; None for what is left to the CPU.
    """
    squares: list[Tensor | None] = [None] * len(payloads)
    preparation = find_preparation(spec.preparation)
    if preparation.on_device is None:
        return squares
    for places in _group(payloads):
        files = [payload for place in places if isinstance(payload := payloads[place], bytes)]
        for place, square in zip(places, _decode_group(files, spec, preparation, device), strict=True):
            squares[place] = square
    return squares


def count_pixels(payload: Payload) -> int | None:
    """Width times height of a file that the GPU decodes as the CPU would; None for any other."""
    if not isinstance(payload, bytes):
        return None
    try:
        image = open_image(payload)
    except InvalidInputError:
        # The CPU finds the same and says so to the sender.
        return None
    plain = isinstance(image, JpegImageFile) and image.mode in ("L", "RGB") and read_orientation(image) == UPRIGHT
    return image.width * image.height if plain else None


def _group(payloads: Sequence[Payload]) -> Iterator[list[int]]:
    """Places of files to decode in one call, bounded by their pixels."""
    group: list[int] = []
    pixels = 0
    for place, payload in enumerate(payloads):
        count = count_pixels(payload)
        if count is None:
            continue
        if group and pixels + count > PIXELS_AT_ONCE:
            yield group
            group, pixels = [], 0
        group.append(place)
        pixels += count
    if group:
        yield group


def _decode_group(
    files: Sequence[bytes], spec: InputSpec, preparation: Preparation, device: torch.device
) -> Sequence[Tensor | None]:
    assert preparation.on_device is not None
    encoded = [torch.frombuffer(bytearray(file), dtype=torch.uint8) for file in files]
    try:
        with warnings.catch_warnings():
            # torchvision 0.29 says that a later release will do without its decoders; they are the only way to nvJPEG
            # that torch 2.11 and the torch of that release have in common. Where they are gone, the CPU decodes.
            warnings.filterwarnings("ignore", "The image decoding", DeprecationWarning)
            pictures = decode_jpeg(encoded, mode=ImageReadMode.RGB, device=device)
        squares = [preparation.on_device(picture, spec.size, spec.channels) for picture in pictures]
        if device.type == "cuda":
            # Used by another thread from now on; an error of the decoder shows here at the latest.
            torch.cuda.current_stream(device).synchronize()
    except RuntimeError as error:
        # One file that nvJPEG does not take fails the call, and too little memory does; the CPU has both in hand.
        logger.info("nvjpeg_left_to_cpu", extra={"items": len(files), "reason": str(error)[:200]})
        return [None] * len(files)
    return squares
