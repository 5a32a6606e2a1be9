"""From a garment of Fashion-MNIST to its outline and to any place, size and angle in a picture.

Shapes: M garments, H and W height and width of the picture, S side of the enlarged garment.
"""

import torch
from torch import Tensor
from torch.nn import functional

MIN_LEVEL = 14 / 255
"""Gray from which a pixel belongs to the garment; below is the noise around white in the shop photo."""

MARGIN_PX = 4
"""Empty pixels added around the 28, so that the enlarged outline ends before the edge."""

ENLARGEMENT = 2
"""Enlarged with a bicubic kernel before it is placed, so that the outline is a curve and no staircase."""

FILL_STEPS = 40
"""The outside grows inwards from the border by one pixel a step; only a maze needs more steps than a side."""


def outline(garments: Tensor) -> Tensor:
    """The silhouette, as one would cut it out with scissors: closed gaps of a pixel, and no holes.

    Args:
        garments: ``[M, 1, H, W]`` float32, 0..1, bright on black, with a dark border.

    Returns:
        ``[M, 1, H, W]`` float32, 0 or 1.
    """
    solid = (garments > MIN_LEVEL).float()
    # Closing: straps of a sandal that nearly touch hold together, and so do the sides of a handle.
    closed = -functional.max_pool2d(-functional.max_pool2d(solid, 3, stride=1, padding=1), 3, stride=1, padding=1)
    return (~_outside(closed == 0)).float()


def _outside(free: Tensor) -> Tensor:
    """What of ``free``, ``[..., H, W]`` bool, can be reached from the border by steps up, down, left and right."""
    reached = free.clone()
    reached[..., 1:-1, 1:-1] = False
    for _ in range(FILL_STEPS):
        grown = reached.clone()
        grown[..., 1:, :] |= reached[..., :-1, :]
        grown[..., :-1, :] |= reached[..., 1:, :]
        grown[..., :, 1:] |= reached[..., :, :-1]
        grown[..., :, :-1] |= reached[..., :, 1:]
        reached = grown & free
    return reached


def enlarge(garments: Tensor) -> Tensor:
    """Gray levels and outline, enlarged and smooth.

    Args:
        garments: ``[M, 1, 28, 28]`` uint8, 0..255, bright on black.

    Returns:
        ``[M, 2, S, S]`` float32, 0..1: gray, and an outline whose edge is at 0.5.
    """
    padded = functional.pad(garments.float() / 255, [MARGIN_PX] * 4)
    both = torch.cat([padded, outline(padded)], dim=1)
    large = functional.interpolate(both, scale_factor=ENLARGEMENT, mode="bicubic", align_corners=False).clamp(0, 1)
    # Rounds what is left of the pixels' corners; along one direction and then the other, which is faster.
    smooth = functional.avg_pool2d(large[:, 1:], (1, 3), stride=1, padding=(0, 1))
    smooth = functional.avg_pool2d(smooth, (3, 1), stride=1, padding=(1, 0))
    return torch.cat([large[:, :1], smooth], dim=1)


def place_grid(centres: Tensor, sides: Tensor, angles: Tensor, mirrored: Tensor, size: tuple[int, int]) -> Tensor:
    """Where each pixel of the picture lies within each garment.

    Args:
        centres: ``[M, 2]``, x and y in pixels of the picture.
        sides: ``[M, 2]``, width and height in pixels that the garment's 28 get.
        angles: ``[M]`` in radians, clockwise as y points down.
        mirrored: ``[M]`` bool, left and right exchanged.
        size: H and W.

    Returns:
        ``[M, H, W, 2]``, -1..1 across the enlarged garment, as ``grid_sample`` takes it.
    """
    height, width = size
    # The margin is enlarged with the garment.
    halves = sides / 2 * (28 + 2 * MARGIN_PX) / 28
    halves = halves * torch.stack([1 - 2 * mirrored.float(), torch.ones_like(angles)], dim=1)
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    dx = x - centres[:, 0, None, None]
    dy = y - centres[:, 1, None, None]
    cos, sin = angles.cos()[:, None, None], angles.sin()[:, None, None]
    across = (dx * cos + dy * sin) / halves[:, 0, None, None]
    down = (dy * cos - dx * sin) / halves[:, 1, None, None]
    return torch.stack([across, down], dim=-1)
