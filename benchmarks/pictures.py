"""Photos to send: many different files of two real photographs, so that no cache answers for the model."""

import io
import random
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_images

#: Width and height of the photographs that scikit-learn carries.
PHOTO_SIZE = (640, 427)
PHOTO_COUNT = 64
LOWEST_QUALITY, HIGHEST_QUALITY = 80, 95

#: A phone's photo: 10.7 megapixels.
PHONE_SIZE = (4000, 2668)
PHONE_COUNT = 8
PHONE_QUALITY = 90

#: How much a crop may cut off each side before it is scaled back.
GREATEST_CUT = 0.1


def write_photos(folder: Path, *, count: int = PHOTO_COUNT) -> list[Path]:
    """Write JPEGs of 640 x 427 pixels: crops of the two photographs at varied quality, always the same ones."""
    draw = random.Random(0)  # noqa: S311 - a seed makes every run's files the same
    return [
        _write(
            folder / f"photo-{number:02}.jpg",
            _crop(number, draw, PHOTO_SIZE),
            draw.randint(LOWEST_QUALITY, HIGHEST_QUALITY),
        )
        for number in range(count)
    ]


def write_phone_photos(folder: Path, *, count: int = PHONE_COUNT) -> list[Path]:
    """Write JPEGs of 4000 x 2668 pixels, scaled up from the photographs, at quality 90."""
    draw = random.Random(1)  # noqa: S311 - a seed makes every run's files the same
    return [
        _write(folder / f"phone-{number:02}.jpg", _crop(number, draw, PHONE_SIZE), PHONE_QUALITY)
        for number in range(count)
    ]


def _crop(number: int, draw: random.Random, size: tuple[int, int]) -> Image.Image:
    photographs = load_sample_images().images
    image = Image.fromarray(np.asarray(photographs[number % len(photographs)]))
    left, top, right, bottom = (draw.uniform(0, GREATEST_CUT) for _ in range(4))
    box = (left * image.width, top * image.height, (1 - right) * image.width, (1 - bottom) * image.height)
    return image.resize(size, Image.Resampling.LANCZOS, box=box)


def _write(path: Path, image: Image.Image, quality: int) -> Path:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    path.write_bytes(buffer.getvalue())
    return path
