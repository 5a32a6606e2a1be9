"""Random changes to training images that a photo makes too: place, size, light and sharpness.

Shapes: B batch, H height, W width. All images are ``[B, 1, H, W]`` float32, 0..255, garment bright on black.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional

WARPED_SHARE = 0.75
"""Of all images; the rest keeps every pixel, as the images that the test set is made of."""
MAX_ROTATION_RAD = math.radians(7)
MAX_LOG_SCALE = math.log(1.12)
MAX_SHIFT_SIDES = 0.07
"""Largest shift, in sides of the image (0.07 of 28 px: 2 px)."""

MAX_BLUR = 0.8
"""1 would replace each pixel by the mean of its neighbourhood."""
MAX_SHARPEN = 0.5

MIN_GAIN, MAX_GAIN = 0.75, 1.2

ERASED_SHARE = 0.3
MIN_ERASED_SIDES, MAX_ERASED_SIDES = 0.1, 0.35
"""Sides of the erased rectangle, in sides of the image."""


def augment_garments(images: Tensor, generator: torch.Generator) -> Tensor:
    """Flip, warp, blur or sharpen, brighten or darken, and erase a rectangle, each at random.

    Args:
        images: ``[B, 1, H, W]``, uint8 or float32, 0..255.
        generator: Source of all randomness.

    Returns:
        ``[B, 1, H, W]`` float32, 0..255.
    """
    warped = _warp(images.float(), generator)
    softened = _change_sharpness(warped, generator)
    lit = softened * _uniform(len(images), MIN_GAIN, MAX_GAIN, generator).view(-1, 1, 1, 1)
    return _erase(lit.clamp(0, 255), generator)


def _uniform(count: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    return torch.rand(count, generator=generator) * (high - low) + low


def _warp(images: Tensor, generator: torch.Generator) -> Tensor:
    """Turn, stretch, shift; half of the images also mirrored."""
    count = len(images)
    strength = (torch.rand(count, generator=generator) < WARPED_SHARE).float()
    angle = _uniform(count, -MAX_ROTATION_RAD, MAX_ROTATION_RAD, generator) * strength
    scale_x = torch.exp(_uniform(count, -MAX_LOG_SCALE, MAX_LOG_SCALE, generator) * strength)
    scale_y = torch.exp(_uniform(count, -MAX_LOG_SCALE, MAX_LOG_SCALE, generator) * strength)
    # Grid coordinates run from -1 to 1, so one side is 2.
    shift = torch.rand(count, 2, generator=generator).sub(0.5).mul(4 * MAX_SHIFT_SIDES) * strength.unsqueeze(1)
    mirror = torch.where(torch.rand(count, generator=generator) < 0.5, -1.0, 1.0)
    row_x = torch.stack([angle.cos() * scale_x * mirror, -angle.sin() * scale_y, shift[:, 0]], dim=1)
    row_y = torch.stack([angle.sin() * scale_x * mirror, angle.cos() * scale_y, shift[:, 1]], dim=1)
    grid = functional.affine_grid(torch.stack([row_x, row_y], dim=1), list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def _change_sharpness(images: Tensor, generator: torch.Generator) -> Tensor:
    """Move every image towards (blur) or away from (sharpen) its local mean; half of them stay as they are."""
    count = len(images)
    amount = _uniform(count, -MAX_SHARPEN, MAX_BLUR, generator)
    amount = torch.where(torch.rand(count, generator=generator) < 0.5, amount, 0.0).view(-1, 1, 1, 1)
    side = torch.tensor([1.0, 2.0, 1.0])
    kernel = (side.view(1, 1, 3, 1) * side.view(1, 1, 1, 3)) / 16
    return torch.lerp(images, functional.conv2d(images, kernel, padding=1), amount)


def _erase(images: Tensor, generator: torch.Generator) -> Tensor:
    """Blacken a rectangle (Zhong et al. 2017, arXiv:1708.04896), so that no single part decides alone."""
    count, _, height, width = images.shape
    chosen = torch.rand(count, generator=generator) < ERASED_SHARE
    erased = torch.ones(count, 1, height, width, dtype=torch.bool)
    for axis, length in ((2, height), (3, width)):
        extent = _uniform(count, MIN_ERASED_SIDES, MAX_ERASED_SIDES, generator) * length
        start = torch.rand(count, generator=generator) * (length - extent)
        place = torch.arange(length).view(1, -1)
        inside = (place >= start.view(-1, 1)) & (place < (start + extent).view(-1, 1))
        erased &= inside.view(count, 1, -1, 1) if axis == 2 else inside.view(count, 1, 1, -1)
    return images.masked_fill(erased & chosen.view(-1, 1, 1, 1), 0.0)
