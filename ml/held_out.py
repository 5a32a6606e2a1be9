"""Items that no training of a bundled model uses, with their scores by version: always the same ones."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from ml.datasets import diamonds, fashion_mnist, xor
from ml.datasets.fashion_mnist import LabelledImages, load_split
from ml.datasets.garment_scenes import build_composer
from ml.evaluation import encode_png
from ml.predictor import Payload, Predictor
from ml.recipes.fashion import TRAIN_SHARE
from ml.retrieval import score_retrieval
from ml.scene_evaluation import EVALUATION_SEED, encode_scene, score_scenes
from ml.scoring import Item, Scores, score_items

XOR_NOISE = 0.1
XOR_SEED = 1

MOST_SCENES = 200
"""Composing and answering one takes a hundred times what a small picture takes."""

INDEX_ITEMS = 5_000
"""Training images that a query's neighbours are looked for among."""


SAMPLE_ITEMS = 16
"""Items that speed is measured with."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Held:
    """What one version scored.

    Args:
        scores: By item.
        groups: The label of each item, where a version may become worse at one of them; None where there are none.
        sample: Some of the items, as they were sent.
    """

    scores: Scores
    groups: list[str] | None = None
    sample: Sequence[Payload] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class HeldOut:
    """A fixed set of items.

    Args:
        source: What they are, for people.
        score: From a version and the most items to use to what it scored; raises ``DatasetError`` without its data.
    """

    source: str
    score: Callable[[Predictor, int], Held]


def _fashion(predictor: Predictor, limit: int) -> Held:
    images = _validation().part(0, limit)
    labels = [fashion_mnist.LABELS[target] for target in images.targets.tolist()]
    files = [encode_png(image[0].numpy()) for image in images.images]
    items = [Item(payload=file, label=label) for file, label in zip(files, labels, strict=True)]
    return Held(scores=score_items(predictor, items), groups=labels, sample=_first(items))


def _fashion_similar(predictor: Predictor, limit: int) -> Held:
    queries = _validation().part(0, limit)
    scores = score_retrieval(predictor, load_split("train").part(0, INDEX_ITEMS), queries)
    return Held(
        scores=list(scores),
        groups=[fashion_mnist.LABELS[target] for target in queries.targets.tolist()],
        sample=[encode_png(image[0].numpy()) for image in queries.images[:SAMPLE_ITEMS]],
    )


def _garments(predictor: Predictor, limit: int) -> Held:
    composer = build_composer("test")
    scenes = composer.compose(SAMPLE_ITEMS, torch.Generator().manual_seed(EVALUATION_SEED))
    return Held(
        scores=list(score_scenes(predictor, composer, min(limit, MOST_SCENES))),
        sample=[encode_scene(image) for image in scenes.images],
    )


def _diamond_price(predictor: Predictor, limit: int) -> Held:
    test = diamonds.load_splits()["test"].part(0, limit)
    items = [
        Item(payload=record, label=price) for record, price in zip(test.records, test.prices.tolist(), strict=True)
    ]
    return Held(scores=score_items(predictor, items), sample=_first(items))


def _xor(predictor: Predictor, limit: int) -> Held:
    inputs, targets = xor.load_table()
    repeats = max(1, limit // len(inputs))
    noise = XOR_NOISE * torch.randn(repeats * len(inputs), 2, generator=torch.Generator().manual_seed(XOR_SEED))
    labels = [xor.LABELS[target] for target in targets.repeat(repeats).tolist()]
    rows = (inputs.repeat(repeats, 1) + noise).tolist()
    items = [Item(payload=row, label=label) for row, label in zip(rows, labels, strict=True)]
    return Held(scores=score_items(predictor, items), groups=labels, sample=_first(items))


def _first(items: Sequence[Item]) -> list[Payload]:
    return [item.payload for item in items[:SAMPLE_ITEMS]]


def _validation() -> LabelledImages:
    """The part of the training images that is for watching and choosing, see ``ml.recipes.fashion``."""
    images = load_split("train")
    return images.part(round(len(images) * TRAIN_SHARE))


HELD_OUT: dict[str, HeldOut] = {
    "diamond-price": HeldOut(source="test diamonds", score=_diamond_price),
    "fashion": HeldOut(source="validation images of Fashion-MNIST", score=_fashion),
    "fashion-similar": HeldOut(source="validation images of Fashion-MNIST", score=_fashion_similar),
    "garments": HeldOut(source="held-out scenes", score=_garments),
    "xor": HeldOut(source="the table with noise", score=_xor),
}
"""By name of the model."""
