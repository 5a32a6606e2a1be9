import gzip
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch

from ml.datasets.fashion_mnist import LABELS, load_split
from ml.datasets.photo_like import make_photo_like
from ml.datasets.xor import load_table
from ml.errors import DatasetError


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_split_is_images_with_their_classes(tiny_fashion: Path, split: Literal["train", "test"]) -> None:
    data = load_split(split, tiny_fashion)
    assert (data.images.shape, data.images.dtype) == ((48, 1, 28, 28), torch.uint8)
    assert (data.targets.shape, data.targets.dtype) == ((48,), torch.int64)
    assert data.targets.max() < len(LABELS)


def test_a_part_is_cut_from_both(tiny_fashion: Path) -> None:
    data = load_split("test", tiny_fashion)
    assert len(data.part(10, 13)) == 3
    assert torch.equal(data.part(40).images, data.images[40:])


def test_missing_data_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="apt-get install dataset-fashion-mnist`, or pass --data"):
        load_split("train", tmp_path)


@pytest.mark.parametrize(
    "content",
    [b"", b"not gzip", gzip.compress(b"", mtime=0), gzip.compress(b"\0\0\x0d\x03" + bytes(99), mtime=0)],
    ids=["empty", "not gzip", "nothing packed", "another header"],
)
def test_damaged_data_is_named(tiny_fashion: Path, content: bytes) -> None:
    (tiny_fashion / "t10k-images-idx3-ubyte.gz").write_bytes(content)
    with pytest.raises(DatasetError, match="t10k-images"):
        load_split("test", tiny_fashion)


def test_truncated_data_is_named(tiny_fashion: Path) -> None:
    path = tiny_fashion / "t10k-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DatasetError, match="t10k-images"):
        load_split("test", tiny_fashion)


def test_images_and_classes_of_different_number_are_refused(tiny_fashion: Path) -> None:
    wrong = bytes([0, 0, 8, 1]) + (5).to_bytes(4, "big") + bytes(5)
    (tiny_fashion / "t10k-labels-idx1-ubyte.gz").write_bytes(gzip.compress(wrong, mtime=0))
    with pytest.raises(DatasetError, match="not Fashion-MNIST"):
        load_split("test", tiny_fashion)


def test_the_xor_table_is_right() -> None:
    inputs, targets = load_table()
    assert [(int(a) ^ int(b)) for a, b in inputs.tolist()] == targets.tolist()


def test_a_photo_is_dark_on_a_light_canvas() -> None:
    photo = make_photo_like(np.full((28, 28), 255, dtype=np.uint8), np.random.default_rng(0))
    assert (photo.mode, photo.size) == ("RGB", (480, 640))
    levels = np.asarray(photo.convert("L"))
    assert 0.2 < (levels < 20).mean() < 0.7
    assert levels.max() > 230


def test_photos_differ_and_can_be_repeated() -> None:
    garment = np.full((28, 28), 255, dtype=np.uint8)
    first, second, again = (make_photo_like(garment, np.random.default_rng(seed)).tobytes() for seed in (0, 1, 0))
    assert first == again != second
