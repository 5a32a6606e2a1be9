"""The ways from a decoded photo to the square that a network sees; a model's ``input.preparation`` names one.

Shapes: H height, W width, C channels, S side of the square.
"""

from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ml.errors import InvalidSpecError
from ml.garments import prepare_garment
from ml.images import RGBImage
from ml.letterbox import prepare_letterbox

Preparation = Callable[[RGBImage, int, int], Tensor]
"""From ``[H, W, 3]`` uint8 RGB, S and C to ``[C, S, S]`` uint8, gray (C = 1) or RGB (C = 3)."""

RESIZE_MARGIN = 256 / 224
"""The shorter side is scaled to this many S before the centre is cut out, as ImageNet networks are evaluated."""


def prepare_photo(image_hwc: RGBImage, size: int, channels: int) -> Tensor:
    """Scale the shorter side, then cut out the centre.

    Args:
        image_hwc: ``[H, W, 3]`` uint8, 0..255, RGB.
        size: S, in pixels.
        channels: C, 1 or 3.

    Returns:
        ``[C, S, S]`` uint8, 0..255.
    """
    image = Image.fromarray(image_hwc)
    scale = size * RESIZE_MARGIN / min(image.size)
    # Never below S: rounding must not leave the square larger than the image.
    width, height = (max(size, round(side * scale)) for side in image.size)
    left, top = (width - size) // 2, (height - size) // 2
    resized = image.resize((width, height), Image.Resampling.BICUBIC)
    square = resized.crop((left, top, left + size, top + size)).convert("L" if channels == 1 else "RGB")
    return torch.from_numpy(np.array(square).reshape(size, size, channels)).permute(2, 0, 1).contiguous()


PREPARATIONS: dict[str, Preparation] = {
    "garment": prepare_garment,
    "letterbox": prepare_letterbox,
    "photo": prepare_photo,
}


def find_preparation(name: str) -> Preparation:
    """Look a preparation up.

    Raises:
        InvalidSpecError: None has that name.
    """
    preparation = PREPARATIONS.get(name)
    if preparation is None:
        raise InvalidSpecError("input.preparation", f"must be one of: {', '.join(sorted(PREPARATIONS))}.")
    return preparation
