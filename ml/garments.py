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

from ml.images import MIN_SIDE_PX, RGBImage

Gray = npt.NDArray[np.uint8]
"""``[H, W]`` uint8, 0..255."""

Colours = npt.NDArray[np.float32]
"""``[..., 3]`` float32, 0..255, RGB; or, where said, other numbers for every pixel."""

LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)
"""Weights of red, green and blue in gray (ITU-R BT.601, as Pillow converts)."""

MIDDLE_GRAY = 127.5
"""A background above is light."""

CORNER_SIDES = 1 / 32
"""Side of the patch in each corner that the background is first read from, in shorter sides of the image."""

MAX_EVEN = 6
"""Levels of 255 by which most of the border may differ from the corners before shading is looked for."""

MAX_UNEVENNESS = 48
"""Levels of 255 by which shading may take the background away from its corners; beyond is garment."""

MIN_CONTRAST = 13
"""Levels of 255 (5 %, as in the data set's own trimming) by which the garment stands out in at least one channel."""

NOISE_MARGIN = 4
"""The garment also stands out by this many standard deviations of the background."""

SHADING_GRID_PX = 64
"""Longer side of the small copy that the shading is measured on; it changes slowly, and noise averages out."""

MIN_KNOWN_SHARE = 0.25
"""Share of the border that must look like background; a surface through less would be made up."""

SHADING_ROUNDS = 3
"""Fits of the shading; each leaves out what the one before did not explain."""

MIN_LINE_SHARE = 0.01
"""A row or column with a smaller share of garment pixels than this is taken for empty: dust or compression noise."""


def prepare_garment(image_hwc: RGBImage, size: int, channels: int) -> Tensor:
    """Cut out, scale and centre the garment, bright on black.

    An image that already has the network's size is taken as prepared, and is only negated when its background is light:
    the images of Fashion-MNIST come through unchanged, their negatives as the originals.

    Args:
        image_hwc: ``[H, W, 3]`` uint8, 0..255, RGB.
        size: S, in pixels.
        channels: C; 3 repeats the gray values.

    Returns:
        ``[C, S, S]`` uint8, 0..255.
    """
    background = _measure_corners(image_hwc)
    if image_hwc.shape[:2] == (size, size):
        gray_hw = np.asarray(Image.fromarray(image_hwc).convert("L"))
        garment_hw = 255 - gray_hw if background @ LUMA > MIDDLE_GRAY else gray_hw
    else:
        background_hwc, noise = _measure_shading(image_hwc, background)
        contrast = min(max(MIN_CONTRAST, NOISE_MARGIN * noise), MAX_UNEVENNESS)
        stands_out_hwc = np.abs(image_hwc - background_hwc) > contrast
        # Spelled out, because numpy reduces an axis of three many times slower.
        stands_out_hw = stands_out_hwc[..., 0] | stands_out_hwc[..., 1] | stands_out_hwc[..., 2]
        garment_hw = _fit(_crop(_distance(image_hwc, background_hwc), stands_out_hw), size)
    return torch.tensor(garment_hw).expand(channels, size, size).contiguous()


def _measure_corners(image_hwc: RGBImage) -> Colours:
    """The background's colour as the corners show it, ``[3]``."""
    side = max(1, int(min(image_hwc.shape[:2]) * CORNER_SIDES))
    top, bottom = image_hwc[:side], image_hwc[-side:]
    patches = [top[:, :side], top[:, -side:], bottom[:, :side], bottom[:, -side:]]
    # The median, because the garment may reach into one corner.
    means_4c = [patch.mean(axis=(0, 1), dtype=np.float32) for patch in patches]
    background: Colours = np.median(means_4c, axis=0).astype(np.float32)
    return background


def _measure_shading(image_hwc: RGBImage, corners: Colours) -> tuple[Colours, float]:
    """The background's colour everywhere (``[H, W, 3]``, or ``[3]`` where it is even) and its noise (levels).

    Light falls off slowly over a wall or a table: a quadratic surface through the image's border describes it.
    """
    border_n3, terms_nt = _read_border(image_hwc)
    even = np.abs(border_n3 - corners).max(axis=1) < MAX_EVEN
    if even.mean() > 0.5:
        return corners, float((border_n3 - corners)[even].std())
    expected_n3 = np.broadcast_to(corners, border_n3.shape)
    weights_t3, noise = None, 0.0
    for _ in range(SHADING_ROUNDS):
        known = np.abs(border_n3 - expected_n3).max(axis=1) < MAX_UNEVENNESS
        if known.mean() < MIN_KNOWN_SHARE:
            break
        weights_t3 = np.linalg.lstsq(terms_nt[known], border_n3[known], rcond=None)[0]
        expected_n3 = terms_nt @ weights_t3
        noise = float((border_n3 - expected_n3)[known].std())
    if weights_t3 is None:
        return corners, noise
    surface_hwc: Colours = (_terms(*image_hwc.shape[:2]) @ weights_t3).clip(0, 255)
    return surface_hwc, noise


def _read_border(image_hwc: RGBImage) -> tuple[Colours, Colours]:
    """Colours along the border of a small copy (``[N, 3]``) and the surface's terms there (``[N, 6]``)."""
    height, width = image_hwc.shape[:2]
    scale = SHADING_GRID_PX / max(height, width)
    small = max(MIN_SIDE_PX, round(width * scale)), max(MIN_SIDE_PX, round(height * scale))
    small_hwc = np.asarray(Image.fromarray(image_hwc).resize(small, Image.Resampling.BOX), dtype=np.float32)
    border_hw = np.ones(small_hwc.shape[:2], dtype=bool)
    border_hw[1:-1, 1:-1] = False
    return small_hwc[border_hw], _terms(small[1], small[0])[border_hw]


def _terms(height: int, width: int) -> Colours:
    """The terms 1, x, y, xx, xy, yy of a quadratic surface at every pixel, ``[H, W, 6]``; x and y run from -1 to 1."""
    y, x = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")
    return np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=-1).astype(np.float32)


def _distance(image_hwc: RGBImage, background: Colours) -> Gray:
    """How far each pixel's brightness is from the background's, 0 to 255 for the furthest that is possible."""
    gray_hw = np.asarray(Image.fromarray(image_hwc).convert("L"), dtype=np.float32)
    level = background @ LUMA
    distance_hw: Gray = (np.abs(gray_hw - level) * (255 / np.maximum(level, 255 - level))).round().astype(np.uint8)
    return distance_hw


def _crop(garment_hw: Gray, stands_out_hw: npt.NDArray[np.bool_]) -> Gray:
    """The smallest box around all rows and columns that show some garment; all of the image where none do."""
    height, width = stands_out_hw.shape
    rows = np.flatnonzero(np.count_nonzero(stands_out_hw, axis=1) > MIN_LINE_SHARE * width)
    columns = np.flatnonzero(np.count_nonzero(stands_out_hw, axis=0) > MIN_LINE_SHARE * height)
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
