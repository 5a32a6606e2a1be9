"""The fast way to the pixels of a JPEG: libjpeg-turbo, which scales down while it decodes.

Shapes: H height, W width.
"""

import math

import numpy as np
import numpy.typing as npt
import simplejpeg

SCALES = (8, 4, 2, 1)
"""Sides can be divided by these while decoding. The library knows eighths in between, but has fast code for these only:
5/8 of a 640 x 427 photo takes longer than all of it."""

COLOUR_SPACES = ("Gray", "YCbCr", "RGB")
"""What can become RGB by itself; the rest needs Pillow's care."""


def decode_jpeg(
    data: bytes, *, height: int, width: int, factor: int, room: npt.NDArray[np.uint8] | None = None
) -> tuple[npt.NDArray[np.uint8], int] | None:
    """Decode, scaled down by the largest of ``SCALES`` that is ``factor`` or less.

    Args:
        data: The whole file.
        height: H as the header was read by whoever checked its size.
        width: W likewise.
        factor: By how much the sides may be divided, 1 or more.
        room: ``[R]`` uint8, where the pixels go when they fit; None for memory of their own.

    Returns:
        ``[ceil(H / scale), ceil(W / scale), 3]`` uint8, 0..255, RGB, writable, not turned upright, with the scale;
        None where the file is damaged in any way, or not gray, YCbCr or RGB with 8 bits.
    """
    scale = next(scale for scale in SCALES if scale <= factor)
    size = math.ceil(height / scale), math.ceil(width / scale)
    try:
        found_height, found_width, colours, _ = simplejpeg.decode_jpeg_header(data)
        # Two readers of one hostile header could see two sizes; only the one that was checked may be decoded.
        if (found_height, found_width) != (height, width) or colours not in COLOUR_SPACES:
            return None
        # The slower transform and upsampling, since the faster ones save 0.1 ms of 1.2 and cost a level of likeness.
        pixels_hwc = simplejpeg.decode_jpeg(
            data, "RGB", min_height=size[0], min_width=size[1], min_factor=1, buffer=_fitting(room, size)
        )
    except ValueError:
        return None
    return (pixels_hwc, scale) if pixels_hwc.shape == (*size, 3) else None


def _fitting(room: npt.NDArray[np.uint8] | None, size: tuple[int, int]) -> npt.NDArray[np.uint8] | None:
    count = size[0] * size[1] * 3
    return None if room is None or room.size < count else room[:count]
