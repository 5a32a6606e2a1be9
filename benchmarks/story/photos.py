"""The photos of the story: Fashion-MNIST as files, upright and shifted, and the version that has seen few of them."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np
import numpy.typing as npt

from benchmarks.story.scale import Scale
from ml.bundles import write_bundle
from ml.datasets.fashion_mnist import LABELS, MEAN, SIDE_PX, STD, LabelledImages, load_split
from ml.evaluation import encode_png
from ml.examples import CorrectedExamples, Correction
from ml.recipes.by_kind import train_by_kind
from ml.recipes.recipe import RecipeOptions
from ml.training import compute_threads

MODEL = "fashion"


@dataclass(frozen=True, slots=True)
class Photo:
    """A file and what it shows."""

    data: bytes
    label: str


@dataclass(frozen=True, slots=True)
class Album:
    """All photos, in the order in which they are sent.

    Attributes:
        upright: As the data set has them.
        shifted: Dark on white, and turned by a quarter.
        after: More of the same, for the version that has recovered.
        untouched: Test images that are only measured on.
        untouched_shifted: The same, shifted.
    """

    upright: Sequence[Photo]
    shifted: Sequence[Photo]
    after: Sequence[Photo]
    untouched: Sequence[Photo]
    untouched_shifted: Sequence[Photo]


def load_album(scale: Scale) -> Album:
    """Read the photos; none of them is among those that version 1 is trained on.

    Raises:
        DatasetError: The data set is not there.
    """
    training, test = load_split("train"), load_split("test").part(0, scale.untouched)
    first, last = scale.base, scale.base + scale.upright
    end = last + scale.shifted
    return Album(
        upright=_photos(training.part(first, last)),
        shifted=_photos(training.part(last, end), shifted=True),
        after=_photos(training.part(end, end + scale.after), shifted=True),
        untouched=_photos(test),
        untouched_shifted=_photos(test, shifted=True),
    )


def write_first_version(folder: Path, scale: Scale) -> None:
    """Train version 1 on few images and write it as a folder that the stack imports.

    Raises:
        MLError: The data set is not there, or the training failed.
    """
    few = _photos(load_split("train").part(0, scale.base))
    corrections = [Correction(read=partial(_read, photo), label=photo.label) for photo in few]
    examples = CorrectedExamples(corrections, lambda count, why: click.echo(f"{count} images were left out: {why}"))
    options = RecipeOptions(config=_config(scale), examples=examples, epochs=scale.base_epochs, seed=0)
    # Two threads wait for each other longer than they compute, where the cores are shared.
    with compute_threads(1):
        trained = train_by_kind(options)
    write_bundle(folder / MODEL, trained.predictor, trained.config, trained.metrics, trained.card)


def _config(scale: Scale) -> dict[str, Any]:
    return {
        "name": MODEL,
        "description": "Which of ten kinds of garment a photo shows; its first version has seen few of them.",
        "kind": "classification",
        "arch": "fashion-cnn",
        "arch_options": {"widths": list(scale.widths)},
        "input": {
            "type": "image",
            "size": SIDE_PX,
            "channels": 1,
            "preparation": "garment",
            "mean": [MEAN],
            "std": [STD],
        },
        "labels": list(LABELS),
        "max_batch": 64,
    }


def _read(photo: Photo) -> bytes:
    return photo.data


def _photos(images: LabelledImages, *, shifted: bool = False) -> list[Photo]:
    pairs = zip(images.images[:, 0].numpy(), images.targets.tolist(), strict=True)
    return [Photo(encode_png(_shift(pixels) if shifted else pixels), LABELS[target]) for pixels, target in pairs]


def _shift(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Negative, and turned by a quarter: what a new camera that is mounted on its side would send."""
    return np.ascontiguousarray(255 - np.rot90(pixels))


def dump_json(value: Any) -> str:
    """One line of NDJSON."""
    return json.dumps(value, separators=(",", ":")) + "\n"
