"""The whole picture in a square: scaled until the longer side fits, with bars beside the shorter one.

Shapes: H height, W width, C channels, S side of the square.
"""

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ml.images import RGBImage

PAD_LEVEL = 127
"""Of the bars, 0..255: middle gray, which looks least like an edge to any picture."""


@dataclass(frozen=True, slots=True)
class Frame:
    """Where the picture lies in the square, in pixels of the square.

    Args:
        left: First column.
        top: First row.
        width: Columns, at least one.
        height: Rows, at least one.
    """

    left: int
    top: int
    width: int
    height: int


def find_frame(width: int, height: int, size: int) -> Frame:
    """Where a picture of ``width`` x ``height`` lies in a square of ``size``: in the middle, as large as it can."""
    scale = size / max(width, height)
    inner_width, inner_height = max(1, round(width * scale)), max(1, round(height * scale))
    return Frame((size - inner_width) // 2, (size - inner_height) // 2, inner_width, inner_height)


def prepare_letterbox(image_hwc: RGBImage, size: int, channels: int) -> Tensor:
    """Scale the whole picture into the square.

    Args:
        image_hwc: ``[H, W, 3]`` uint8, 0..255, RGB.
        size: S, in pixels.
        channels: C, 1 or 3.

    Returns:
        ``[C, S, S]`` uint8, 0..255.
    """
    image = Image.fromarray(image_hwc)
    frame = find_frame(image.width, image.height, size)
    square = Image.new("RGB", (size, size), (PAD_LEVEL, PAD_LEVEL, PAD_LEVEL))
    square.paste(image.resize((frame.width, frame.height), Image.Resampling.BICUBIC), (frame.left, frame.top))
    pixels = np.array(square.convert("L" if channels == 1 else "RGB"))
    return torch.from_numpy(pixels.reshape(size, size, channels)).permute(2, 0, 1).contiguous()
