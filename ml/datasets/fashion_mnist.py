"""Fashion-MNIST: 60,000 training and 10,000 test images of garments, 28 x 28 gray, bright on black, ten classes.

Source: Xiao, Rasul, Vollgraf 2017, arXiv:1708.07747, https://github.com/zalandoresearch/fashion-mnist, MIT licence.
Debian and Ubuntu package it as ``dataset-fashion-mnist``.
"""

import gzip
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from ml.errors import DatasetError

DEFAULT_DIRECTORY = Path("/usr/share/datasets/fashion-mnist")
"""Where the Debian package puts the four files."""

SIDE_PX = 28

LABELS = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)

MEAN = 0.2860
"""Of all training pixels, on the scale 0..1."""

STD = 0.3530
"""Of all training pixels, on the scale 0..1."""

_FILE_PREFIXES = {"train": "train", "test": "t10k"}
# The IDX format: two zero bytes, the element type (8: unsigned byte), the number of dimensions, then each dimension
# as a big-endian 32-bit number (http://yann.lecun.com/exdb/mnist/).
_UNSIGNED_BYTE = 8


@dataclass(frozen=True, slots=True)
class LabelledImages:
    """Images with their classes.

    Args:
        images: ``[N, 1, 28, 28]`` uint8, gray 0..255, garment bright on black.
        targets: ``[N]`` int64, an index into ``LABELS``.
    """

    images: Tensor
    targets: Tensor

    def __len__(self) -> int:
        return len(self.targets)

    def part(self, start: int, stop: int | None = None) -> "LabelledImages":
        """The items from ``start`` up to, not including, ``stop``."""
        return LabelledImages(self.images[start:stop], self.targets[start:stop])


def load_split(split: Literal["train", "test"], directory: Path = DEFAULT_DIRECTORY) -> LabelledImages:
    """Read one of the two official parts.

    Raises:
        DatasetError: A file is missing or damaged; the message says where to get the data.
    """
    prefix = _FILE_PREFIXES[split]
    images = _read_idx(directory / f"{prefix}-images-idx3-ubyte.gz", n_dimensions=3)
    targets = _read_idx(directory / f"{prefix}-labels-idx1-ubyte.gz", n_dimensions=1)
    if images.shape[1:] != (SIDE_PX, SIDE_PX) or len(images) != len(targets):
        raise DatasetError(f"The files in {directory} are not Fashion-MNIST: shapes {images.shape}, {targets.shape}.")
    return LabelledImages(torch.from_numpy(images).unsqueeze(1), torch.from_numpy(targets).long())


def _read_idx(path: Path, *, n_dimensions: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    try:
        data = gzip.decompress(path.read_bytes())
        if data[:4] != bytes([0, 0, _UNSIGNED_BYTE, n_dimensions]):
            raise DatasetError(f"{path} is not an IDX file of {n_dimensions} dimension(s).")
        shape = np.frombuffer(data, dtype=">u4", count=n_dimensions, offset=4)
        # A copy, because torch wants memory that it may write to.
        return np.frombuffer(data, dtype=np.uint8, offset=4 + 4 * n_dimensions).reshape(shape).copy()
    except FileNotFoundError as error:
        message = f"{path} is not there. Run `apt-get install dataset-fashion-mnist`, or pass --data with its folder."
        raise DatasetError(message) from error
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise DatasetError(f"{path} cannot be read: {error}.") from error
