"""Images of Fashion-MNIST turned back into something like the shop photos that they were made from.

Shapes: H height, W width.
"""

import numpy as np
import numpy.typing as npt
from PIL import Image

CANVAS_PX = (480, 640)
"""Width and height of the photo."""

GARMENT_PX = (280, 460)
"""Smallest and largest side of the square that the garment is scaled to."""

WHITE_LEVELS = (246, 255)
"""Darkest and brightest background."""

NOISE_LEVELS = 1.5
"""Standard deviation of the grain."""


def make_photo_like(garment_hw: npt.NDArray[np.uint8], rng: np.random.Generator) -> Image.Image:
    """Put a garment, dark on white and enlarged, somewhere on a larger canvas with a little grain.

    Args:
        garment_hw: ``[28, 28]`` uint8, 0..255, bright on black.
        rng: Source of all randomness.

    Returns:
        An RGB image of ``CANVAS_PX``.
    """
    side = int(rng.integers(*GARMENT_PX, endpoint=True))
    enlarged = Image.fromarray(garment_hw).resize((side, side), Image.Resampling.BICUBIC)
    covered = Image.new("L", CANVAS_PX)
    place = [int(rng.integers(0, length - side, endpoint=True)) for length in CANVAS_PX]
    covered.paste(enlarged, (place[0], place[1]))
    white = float(rng.integers(*WHITE_LEVELS, endpoint=True))
    levels_hw = white * (1 - np.asarray(covered, dtype=np.float32) / 255)
    grainy_hw = levels_hw + rng.normal(0, NOISE_LEVELS, levels_hw.shape)
    return Image.fromarray(grainy_hw.clip(0, 255).astype(np.uint8)).convert("RGB")
