"""How well a garment model does, measured through the same decoding and forward that serve requests.

Shapes: N items.
"""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from ml.datasets.fashion_mnist import LabelledImages
from ml.datasets.photo_like import make_photo_like
from ml.errors import InvalidInputError
from ml.predictor import Predictor
from ml.training import EVALUATION_BATCH, forward_all

PHOTO_LIKE_ITEMS = 1_000
"""Test images that are turned into photos; enough to know the accuracy to about one percent."""

PHOTO_LIKE_JPEG_QUALITY = 85

PHOTO_LIKE_SEED = 0

Encode = Callable[[npt.NDArray[np.uint8]], bytes]
"""From a ``[28, 28]`` gray image, bright on black, to an image file."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Accuracies, 0..1, of all items and of each label's items; nothing for a label without items."""

    items: int
    accuracy: float
    by_label: dict[str, float]


def encode_png(garment_hw: npt.NDArray[np.uint8]) -> bytes:
    """The image as it is, as a PNG file."""
    return _save(Image.fromarray(garment_hw), "PNG")


def photo_like_encoder(seed: int = PHOTO_LIKE_SEED) -> Encode:
    """Encodes each image as a JPEG photo of ``ml.datasets.photo_like``; the same seed gives the same photos."""
    rng = np.random.default_rng(seed)
    return lambda garment_hw: _save(make_photo_like(garment_hw, rng), "JPEG", quality=PHOTO_LIKE_JPEG_QUALITY)


def evaluate(predictor: Predictor, data: LabelledImages, encode: Encode = encode_png) -> Evaluation:
    """Encode every image as a file, send it the way of a request, and compare the answers with the targets.

    Raises:
        InvalidInputError: An encoded image was refused.
    """
    predicted = torch.cat(
        [
            _answer(predictor, [encode(image[0].numpy()) for image in images])
            for images in torch.split(data.images, EVALUATION_BATCH)
        ]
    )
    right = (predicted == data.targets).double()
    by_label = {
        label: float(right[data.targets == index].mean())
        for index, label in enumerate(predictor.spec.labels)
        if bool((data.targets == index).any())
    }
    return Evaluation(len(data), float(right.mean()), by_label)


def _answer(predictor: Predictor, files: Sequence[bytes]) -> Tensor:
    """Indices of the strongest labels, ``[N]`` int64."""
    decoded = predictor.decode_batch(files)
    items = [item for item in decoded if isinstance(item, Tensor)]
    refused = [item for item in decoded if isinstance(item, InvalidInputError)]
    if refused:
        raise refused[0]
    return forward_all(predictor, torch.stack(items)).argmax(dim=1)


def _save(image: Image.Image, image_format: str, **options: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()
