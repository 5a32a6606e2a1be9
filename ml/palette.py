"""Masks as palette PNG files: a program reads class indices, a viewer shows colours.

Shapes: H height, W width.
"""

import io

import numpy as np
import numpy.typing as npt
from PIL import Image

from ml.predictor import File

MEDIA_TYPE = "image/png"

#: Index 0, the background, is black; the others are far apart from each other, and go round after the last.
BACKGROUND = (0, 0, 0)
COLOURS = (
    (230, 25, 75),
    (60, 180, 75),
    (255, 225, 25),
    (0, 130, 200),
    (245, 130, 48),
    (145, 30, 180),
    (70, 240, 240),
    (240, 50, 230),
    (170, 255, 195),
    (128, 128, 0),
)


def colour_of(index: int) -> tuple[int, int, int]:
    """Red, green and blue, 0..255, of a class index."""
    return BACKGROUND if index == 0 else COLOURS[(index - 1) % len(COLOURS)]


def encode_mask(labels_hw: npt.NDArray[np.uint8], n_labels: int) -> File:
    """Class indices ``[H, W]`` uint8, below ``n_labels``, as an indexed PNG."""
    image = Image.fromarray(labels_hw).convert("L")
    image.putpalette([level for index in range(n_labels) for level in colour_of(index)])
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return File(MEDIA_TYPE, buffer.getvalue())
