"""How well a model finds garments in scenes that it was not trained on.

Every scene goes through the same decoding that serves requests.

Shapes: B scenes, S side of a scene.
"""

import io
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor

from ml.datasets.garment_scenes import SceneComposer
from ml.errors import InvalidInputError
from ml.predictor import Predictor
from ml.segmentation import count_confusion, iou_by_label, mean_iou

EVALUATION_SCENES = 1_000
"""Enough to know the mean to about half a percent."""

EVALUATION_SEED = 20_000

JPEG_QUALITY = 90

BATCH = 50
"""Scenes composed and answered at once."""


@dataclass(frozen=True, slots=True)
class SceneEvaluation:
    """Intersection over union, 0..1.

    Attributes:
        scenes: How many were answered.
        mean_iou: Over all labels, the background too, as is usual since PASCAL VOC (Everingham et al. 2015).
        garment_iou: Over the garment labels alone, which is stricter.
        by_label: Each label's own.
    """

    scenes: int
    mean_iou: float
    garment_iou: float
    by_label: dict[str, float]


def evaluate_scenes(
    predictor: Predictor, composer: SceneComposer, count: int = EVALUATION_SCENES, seed: int = EVALUATION_SEED
) -> SceneEvaluation:
    """Compose square scenes, encode each as a JPEG file, send it the way of a request, and compare every pixel.

    Args:
        predictor: A segmentation with the labels of the scenes.
        composer: Makes scenes of the side that the network sees.
        count: How many.
        seed: The same seed gives the same scenes.

    Raises:
        InvalidInputError: An encoded scene was refused.
    """
    labels = predictor.spec.labels
    confusion = torch.zeros(len(labels), len(labels), dtype=torch.int64)
    for predicted, masks in _answered(predictor, composer, count, seed):
        confusion += count_confusion(predicted, masks, len(labels))
    by_label = dict(zip(labels, iou_by_label(confusion).tolist(), strict=True))
    return SceneEvaluation(count, mean_iou(confusion, background=True), mean_iou(confusion), by_label)


def score_scenes(predictor: Predictor, composer: SceneComposer, count: int, seed: int = EVALUATION_SEED) -> list[float]:
    """Mean intersection over union of each scene's garments, 0..1; arguments and errors as of ``evaluate_scenes``."""
    n_labels = len(predictor.spec.labels)
    return [
        mean_iou(count_confusion(found, mask, n_labels))
        for predicted, masks in _answered(predictor, composer, count, seed)
        for found, mask in zip(predicted, masks, strict=True)
    ]


def encode_scene(image: Tensor, quality: int = JPEG_QUALITY) -> bytes:
    """``[3, H, W]`` uint8 RGB as a JPEG file."""
    buffer = io.BytesIO()
    Image.fromarray(image.permute(1, 2, 0).contiguous().numpy()).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def _answered(predictor: Predictor, composer: SceneComposer, count: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """What was predicted and what is true, both ``[B, S, S]`` int64, a batch of scenes at a time."""
    generator = torch.Generator().manual_seed(seed)
    for start in range(0, count, BATCH):
        scenes = composer.compose(min(BATCH, count - start), generator)
        yield _answer(predictor, scenes.images), scenes.masks


def _answer(predictor: Predictor, images: Tensor) -> Tensor:
    """Label indices ``[B, S, S]`` int64."""
    decoded = predictor.decode_batch([encode_scene(image) for image in images])
    refused = [item for item in decoded if isinstance(item, InvalidInputError)]
    if refused:
        raise refused[0]
    items = torch.stack([item for item in decoded if isinstance(item, Tensor)])
    with torch.inference_mode():
        return predictor.forward(items)[:, :, : items.shape[3]].argmax(dim=1).cpu()
