"""A picture with what a segmentation saw in it: colours over the garments, a box and a label around each.

Shapes: H height, W width.
"""

import io

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from ml.palette import colour_of
from ml.predictor import Result

OPACITY = 0.55
"""Of the colours; the garment stays visible below them."""

LINE_SHARE = 1 / 200
FONT_SHARE = 1 / 28
"""Of the shorter side of the picture."""

DARK = (20, 20, 20)


def draw_overlay(picture: Image.Image, result: Result) -> Image.Image:
    """Lay a segmentation's result over its picture.

    Args:
        picture: RGB, the picture that was sent.
        result: As ``ml.segmentation`` gives it.

    Returns:
        RGB, as large as the picture.
    """
    enlarged_hw = _enlarge(np.asarray(Image.open(io.BytesIO(result["mask"]["file"].data))), picture.size)
    mask = Image.fromarray(enlarged_hw)
    mask.putpalette([level for index in range(256) for level in colour_of(index)])
    covered = Image.fromarray((enlarged_hw > 0).astype(np.uint8) * round(255 * OPACITY))
    drawn = Image.composite(mask.convert("RGB"), picture, covered)
    colours = {entry["label"]: colour_of(entry["index"]) for entry in result["mask"]["legend"]}
    for found in result["classes"]:
        for box in found["boxes"]:
            _draw_box(drawn, box, found["label"], colours[found["label"]])
    return drawn


def _enlarge(indices_hw: npt.NDArray[np.uint8], size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """A mask in the size of its picture, with curves for the edges of its pixels."""
    indices = np.unique(indices_hw)
    layers = [Image.fromarray((indices_hw == index).astype(np.uint8) * 255) for index in indices]
    enlarged = np.stack([np.asarray(layer.resize(size, Image.Resampling.BICUBIC)) for layer in layers])
    chosen_hw: npt.NDArray[np.uint8] = indices[enlarged.argmax(axis=0)]
    return chosen_hw


def _draw_box(image: Image.Image, box: list[int], label: str, colour: tuple[int, int, int]) -> None:
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(size=max(10.0, min(image.size) * FONT_SHARE))
    left, top, right, bottom = box
    draw.rectangle(
        (left, top, right - 1, bottom - 1), outline=colour, width=max(1, round(min(image.size) * LINE_SHARE))
    )
    draw.rectangle(draw.textbbox((left, top), label, font=font), fill=colour)
    draw.text((left, top), label, fill=DARK, font=font)
