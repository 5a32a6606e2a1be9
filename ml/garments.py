"""From a photo of one garment on a plain background to what Fashion-MNIST looks like.

The data set was made from shop photos on white by trimming the borders that look like the corners, scaling the longer
side to 28 px, centring on a square and negating (Xiao et al. 2017, arXiv:1708.07747, section 2). The same is done here
for backgrounds of any brightness, by taking the distance from the background instead of the negative.

Shapes: H height, W width, C channels, S side of the prepared square.
"""

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from ml.images import RGBImage

Gray = npt.NDArray[np.uint8]
"""``[H, W]`` uint8, 0..255."""

CORNER_SIDES = 1 / 32
"""Side of the patch in each corner that the background is read from, in shorter sides of the image."""

MIN_CONTRAST = 13
"""Levels of 255 (5 %, as in the data set's own trimming) by which the garment stands out in at least one channel."""

MAX_CONTRAST = 48
"""However uneven the background is, what differs by more than this many levels belongs to the garment."""

UNEVENNESS_MARGIN = 1.5
"""The garment stands out by this many times what the corners differ among themselves."""

MIN_LINE_SHARE = 0.01
"""A row or column with a smaller share of garment pixels than this is taken for empty: dust or compression noise."""


def prepare_garment(image_hwc: RGBImage, size: int, channels: int) -> Tensor:
    """Cut out, scale and centre the garment, bright on black.

    An image that already has the network's size is taken as prepared, and only its background is made black: the images
    of Fashion-MNIST come through unchanged, their negatives as the originals.

    Args:
        image_hwc: ``[H, W, 3]`` uint8, 0..255, RGB.
        size: S, in pixels.
        channels: C; 3 repeats the gray values.

    Returns:
        ``[C, S, S]`` uint8, 0..255.
    """
    background, unevenness = _measure_background(image_hwc)
    garment_hw = _distance_from(image_hwc, background)
    if garment_hw.shape != (size, size):
        contrast = float(np.clip(UNEVENNESS_MARGIN * unevenness, MIN_CONTRAST, MAX_CONTRAST))
        stands_out_hw = np.abs(image_hwc - background).max(axis=2) > contrast
        garment_hw = _fit(_crop(garment_hw, stands_out_hw), size)
    return torch.from_numpy(garment_hw).expand(channels, size, size).contiguous()


def _measure_background(image_hwc: RGBImage) -> tuple[npt.NDArray[np.float32], float]:
    """The background's colour (``[3]`` float32, 0..255) and how much it varies from corner to corner (levels)."""
    side = max(1, int(min(image_hwc.shape[:2]) * CORNER_SIDES))
    top, bottom = image_hwc[:side], image_hwc[-side:]
    patches = [top[:, :side], top[:, -side:], bottom[:, :side], bottom[:, -side:]]
    corners_4c = np.stack([patch.mean(axis=(0, 1), dtype=np.float32) for patch in patches])
    # The median, because the garment may reach into one corner; for the same reason the furthest one does not count.
    background = np.median(corners_4c, axis=0)
    unevenness = np.sort(np.abs(corners_4c - background).max(axis=1))[-2]
    return background.astype(np.float32), float(unevenness)


def _distance_from(image_hwc: RGBImage, background: npt.NDArray[np.float32]) -> Gray:
    """How far each pixel's brightness is from the background's, 0 to 255 for the furthest that is possible."""
    gray_hw = np.asarray(Image.fromarray(image_hwc).convert("L"), dtype=np.float32)
    level = float(np.asarray(Image.fromarray(background.round().astype(np.uint8).reshape(1, 1, 3)).convert("L"))[0, 0])
    scale = 255 / max(level, 255 - level)
    distance_hw: Gray = (np.abs(gray_hw - level) * scale).round().astype(np.uint8)
    return distance_hw


def _crop(garment_hw: Gray, stands_out_hw: npt.NDArray[np.bool_]) -> Gray:
    """The smallest box around all rows and columns that show some garment; all of the image where none do."""
    rows = np.flatnonzero(stands_out_hw.mean(axis=1) > MIN_LINE_SHARE)
    columns = np.flatnonzero(stands_out_hw.mean(axis=0) > MIN_LINE_SHARE)
    if len(rows) == 0 or len(columns) == 0:
        return garment_hw
    return garment_hw[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _fit(garment_hw: Gray, size: int) -> Gray:
    """Scale the longer side to ``size`` and centre on a black square of that side."""
    height, width = garment_hw.shape
    scale = size / max(height, width)
    fitted = max(1, round(width * scale)), max(1, round(height * scale))
    scaled_hw = np.asarray(Image.fromarray(garment_hw).resize(fitted, Image.Resampling.BICUBIC))
    square = np.zeros((size, size), dtype=np.uint8)
    # An odd pixel of padding goes to the left and the top, as in the data set.
    left, top = (size - fitted[0] + 1) // 2, (size - fitted[1] + 1) // 2
    square[top : top + fitted[1], left : left + fitted[0]] = scaled_hw
    return square
