"""Tiny models, images and data sets for the tests of ``ml``."""

import gzip
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from ml.bundles import BUNDLED_DIRECTORY, read_bundle
from ml.datasets.fashion_mnist import load_split
from ml.predictor import Predictor
from ml.spec import ModelSpec

ROOT = Path(__file__).parents[3]

VECTOR_CONFIG: dict[str, Any] = {
    "kind": "classification",
    "arch": "mlp",
    "arch_options": {"hidden": [8]},
    "input": {"type": "vector", "size": 2},
    "labels": ["0", "1"],
    "max_batch": 8,
}

IMAGE_CONFIG: dict[str, Any] = {
    "kind": "classification",
    "arch": "fashion-cnn",
    "arch_options": {"widths": [2, 4, 8]},
    "input": {"type": "image", "size": 28, "channels": 1, "preparation": "garment", "mean": [0.286], "std": [0.353]},
    "labels": ["Sandal", "Sneaker", "Bag"],
    "max_batch": 4,
}

RECORD_CONFIG: dict[str, Any] = {
    "kind": "regression",
    "arch": "tabular-resnet",
    "arch_options": {"width": 8, "blocks": 1, "embedding": 2, "frequencies": 2},
    "input": {
        "type": "record",
        "fields": [
            {"name": "carat", "type": "number", "min": 0.1, "max": 6, "unit": "ct", "mean": 0.8, "std": 0.5},
            {"name": "cut", "type": "choice", "choices": ["Fair", "Ideal"]},
        ],
    },
    "kind_options": {"unit": "USD", "transform": "log", "mean": 7.5, "decimals": 0},
    "max_batch": 4,
}

EncodeImage = Callable[..., bytes]


@pytest.fixture
def vector_config() -> dict[str, Any]:
    return dict(VECTOR_CONFIG)


@pytest.fixture
def image_config() -> dict[str, Any]:
    return dict(IMAGE_CONFIG)


@pytest.fixture
def record_config() -> dict[str, Any]:
    return dict(RECORD_CONFIG)


@pytest.fixture
def record_spec() -> ModelSpec:
    return ModelSpec.from_config("records", 1, RECORD_CONFIG)


@pytest.fixture
def vector_spec() -> ModelSpec:
    return ModelSpec.from_config("vectors", 1, VECTOR_CONFIG)


@pytest.fixture
def image_spec() -> ModelSpec:
    return ModelSpec.from_config("images", 1, IMAGE_CONFIG)


@pytest.fixture(autouse=True)
def _same_random_numbers() -> None:
    torch.manual_seed(0)


@pytest.fixture
def encode_image() -> EncodeImage:
    """Encodes a Pillow image or an array as a file: ``encode_image(image, "PNG", **options)``."""

    def encode(image: Any, image_format: str = "PNG", **options: Any) -> bytes:
        buffer = io.BytesIO()
        (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(buffer, image_format, **options)
        return buffer.getvalue()

    return encode


@pytest.fixture
def samples() -> Path:
    return ROOT / "samples"


@pytest.fixture(scope="session")
def fashion() -> Predictor:
    """The model that is shipped."""
    return read_bundle(BUNDLED_DIRECTORY / "fashion").build()


@pytest.fixture(scope="session")
def garments() -> Predictor:
    """The segmentation that is shipped."""
    return read_bundle(BUNDLED_DIRECTORY / "garments").build()


@pytest.fixture
def tiny_fashion(tmp_path: Path) -> Path:
    """A folder with the four files of Fashion-MNIST, 48 random images in each part."""
    rng = np.random.default_rng(0)
    directory = tmp_path / "data"
    directory.mkdir()
    for prefix in ("train", "t10k"):
        images, targets = rng.integers(0, 256, (48, 28, 28)), np.arange(48) % 10
        write_idx(directory / f"{prefix}-images-idx3-ubyte.gz", images)
        write_idx(directory / f"{prefix}-labels-idx1-ubyte.gz", targets)
    return directory


@pytest.fixture
def tripled_fashion(tiny_fashion: Path) -> Path:
    """The same folder with every training image three times, so that each twelfth of them has every class."""
    data = load_split("train", tiny_fashion)
    images, targets = data.images[:, 0].repeat(3, 1, 1), data.targets.repeat(3)
    write_idx(tiny_fashion / "train-images-idx3-ubyte.gz", images.numpy())
    write_idx(tiny_fashion / "train-labels-idx1-ubyte.gz", targets.numpy())
    return tiny_fashion


def write_idx(path: Path, values: "np.ndarray[Any, Any]") -> None:
    header = bytes([0, 0, 8, values.ndim]) + np.array(values.shape, dtype=">u4").tobytes()
    path.write_bytes(gzip.compress(header + values.astype(np.uint8).tobytes()))
