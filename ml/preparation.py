"""The ways from a decoded photo to the square that a network sees; a model's ``input.preparation`` names one.

Shapes: H height, W width of the file; h, w of the decoded pixels; C channels, S side of the square.
"""

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from ml.errors import InvalidSpecError
from ml.garments import prepare_garment
from ml.images import Picture, RGBImage
from ml.letterbox import prepare_letterbox

RESIZE_MARGIN = Fraction(256, 224)
"""The shorter side is scaled to this many S before the centre is cut out, as torchvision evaluates its networks."""

PHOTO_DETAIL = 1.45
"""For ``photo``: with 1.27 times the pixels that it is scaled to, a decode at reduced scale stays within
``PHOTO_TOLERANCE``; a file of 4000 x 2668 is decoded to 500 x 334 for 224 px."""

PHOTO_TOLERANCE = 2.0
"""Levels of 255 by which a photo that was decoded at reduced scale may differ on average from one decoded in full.
Half of what bicubic instead of bilinear scaling changes, or what saving once more at quality 85 does."""

GARMENT_DETAIL = 8.0
"""For ``garment``: the subject may fill a small part of the photo only."""

LETTERBOX_DETAIL = 1.0
"""For ``letterbox``: the longer side, not the shorter, becomes S."""

MAX_ASPECT = 4
"""Of a longer strip only the middle is scaled: the centre is all that is used, and the rest may be huge."""

# Keeps a product like 427 * (256 / 427) from falling below the whole number that it means.
_UPWARDS = 1 + 1e-7

Prepare = Callable[[Picture, int, int], Tensor]
"""From a picture, S and C to ``[C, S, S]`` uint8, gray (C = 1) or RGB (C = 3)."""


@dataclass(frozen=True, slots=True)
class Preparation:
    """One way from photo to square.

    Args:
        prepare: Does it, on the CPU.
        detail: How many S the shorter side of the decoded picture must have left, so that a larger file may be decoded
            at reduced scale.
        on_device: The same from ``[3, H, W]`` uint8 RGB, decoded in full, where the tensor is; None where it takes more
            than tensor operations.
    """

    prepare: Prepare
    detail: float
    on_device: Callable[[Tensor, int, int], Tensor] | None = None


def prepare_photo(picture: Picture, size: int, channels: int) -> Tensor:
    """Scale the shorter side with a triangle filter as wide as a target pixel, then cut out the centre.

    The same squares as torchvision's ``ImageClassification`` preset, within one level of 255.

    Args:
        picture: See ``ml.images``.
        size: S, in pixels.
        channels: C, 1 or 3.

    Returns:
        ``[C, S, S]`` uint8, 0..255.
    """
    pixels_chw = torch.from_numpy(picture.pixels_hwc).permute(2, 0, 1)
    height, width = picture.height / picture.reduction, picture.width / picture.reduction
    square = _scale_and_cut(pixels_chw, height, width, size)
    return _to_gray(square) if channels == 1 else square


def prepare_photo_on_device(pixels_chw: Tensor, size: int, channels: int) -> Tensor:
    """The same for a whole file's pixels ``[3, H, W]`` uint8 on any device; the square stays there."""
    _, height, width = pixels_chw.shape
    square = _scale_and_cut(pixels_chw, height, width, size)
    return _to_gray(square.cpu()).to(square.device) if channels == 1 else square


def _scale_and_cut(pixels_chw: Tensor, height: float, width: float, size: int) -> Tensor:
    """``[3, h, w]`` uint8 -> ``[3, S, S]`` uint8.

    Args:
        pixels_chw: The decoded pixels.
        height: Of the file in decoded pixels: h, or a fraction less where the last row stands for less than the others.
        width: Likewise.
        size: S.
    """
    pixels_chw, height, width = _cut_strip(pixels_chw, height, width)
    short, target = min(height, width), round(size * RESIZE_MARGIN)
    # Cut off, not rounded, as torchvision does.
    new_height, new_width = (max(size, int(target * side / short * _UPWARDS)) for side in (height, width))
    scales = new_height * _UPWARDS / height, new_width * _UPWARDS / width
    # On the CPU bytes have a path of their own, with SIMD; CUDA knows floats only.
    batch = pixels_chw[None] if pixels_chw.device.type == "cpu" else pixels_chw[None].float()
    scaled = functional.interpolate(batch, scale_factor=scales, mode="bilinear", antialias=True)[0]
    top, left = round((new_height - size) / 2), round((new_width - size) / 2)
    square = scaled[:, top : top + size, left : left + size]
    return (square if square.dtype == torch.uint8 else square.round().clamp(0, 255).byte()).contiguous()


def _cut_strip(pixels_chw: Tensor, height: float, width: float) -> tuple[Tensor, float, float]:
    """The middle of a strip that is longer than ``MAX_ASPECT`` times its width."""
    rows, columns = pixels_chw.shape[1:]
    if rows > MAX_ASPECT * columns:
        kept = MAX_ASPECT * columns
        return pixels_chw[:, (rows - kept) // 2 :][:, :kept], kept, width
    if columns > MAX_ASPECT * rows:
        kept = MAX_ASPECT * rows
        return pixels_chw[:, :, (columns - kept) // 2 :][:, :, :kept], height, kept
    return pixels_chw, height, width


def _to_gray(square: Tensor) -> Tensor:
    """``[3, S, S]`` -> ``[1, S, S]``, both uint8, with Pillow's weights."""
    gray = Image.fromarray(square.permute(1, 2, 0).numpy()).convert("L")
    return torch.from_numpy(np.array(gray))[None]


def _from_pixels(prepare: Callable[[RGBImage, int, int], Tensor]) -> Prepare:
    """For a preparation that asks for nothing but the pixels."""
    return lambda picture, size, channels: prepare(picture.pixels_hwc, size, channels)


PREPARATIONS: dict[str, Preparation] = {
    "garment": Preparation(_from_pixels(prepare_garment), GARMENT_DETAIL),
    "letterbox": Preparation(_from_pixels(prepare_letterbox), LETTERBOX_DETAIL),
    "photo": Preparation(prepare_photo, PHOTO_DETAIL, prepare_photo_on_device),
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
