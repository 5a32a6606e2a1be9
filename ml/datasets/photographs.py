"""The real photographs that scenes are composed over; ``photographs/README.md`` names their makers and licences.

Shapes: H height, W width.
"""

from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from ml.errors import DatasetError, InvalidInputError
from ml.images import decode_image

DIRECTORY = Path(__file__).parent / "photographs"

TRAIN = ("brick", "china", "coffee", "gravel", "hubble", "rocket")
"""Seen in training."""

TEST = ("chelsea", "flower", "grass")
"""Whole photographs that training never sees, so that a model cannot know a background by heart."""


def load_photographs(split: Literal["train", "test"], directory: Path = DIRECTORY) -> list[Tensor]:
    """Read the photographs of one part, in the order of their names.

    Returns:
        Each ``[3, H, W]`` uint8, 0..255, RGB.

    Raises:
        DatasetError: A file is missing or damaged.
    """
    return [_read(directory / f"{name}.jpg") for name in (TRAIN if split == "train" else TEST)]


def _read(path: Path) -> Tensor:
    try:
        image_hwc = decode_image(path.read_bytes())
    except (OSError, InvalidInputError) as error:
        raise DatasetError(f"The photograph {path} cannot be read: {error}") from error
    # A copy, because torch wants memory that it may write to.
    return torch.from_numpy(image_hwc.copy()).permute(2, 0, 1).contiguous()
