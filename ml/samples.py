"""Real inputs to judge a faster way of running a network by.

Shapes: C channels, H height, W width.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ml.errors import InvalidInputError, InvalidSpecError
from ml.inputs import blank_item
from ml.predictor import Payload, Predictor

PHOTOS_DIRECTORY = Path(__file__).parent / "photos"
"""Photographs that come with this repository, one folder a preparation; see its README for their sources."""

WANTED = 32
"""Items that a judgement is based on, where there are so many."""

STORED = "recent predictions"
SHIPPED = "samples of the model"
PHOTOS = "photographs of this repository"
MADE_UP = "random numbers"


@dataclass(frozen=True, kw_only=True)
class Samples:
    """Decoded items of one model.

    Attributes:
        items: As the predictor decodes them; at least one.
        source: Where they come from, for people.
        real: False where nothing better than random numbers was at hand: good to measure speed, not to judge answers.
    """

    items: list[Tensor]
    source: str
    real: bool = True


def collect_samples(predictor: Predictor, stored: Sequence[Payload] = ()) -> Samples:
    """Take what the model was really asked of late; else what comes with it or with this repository.

    Args:
        predictor: Decodes.
        stored: Recent inputs as they were sent; those that cannot be decoded any more are left out.

    Raises:
        InvalidSpecError: A sample of the model's configuration cannot be decoded.
    """
    recent = [item for item in predictor.decode_batch(stored[:WANTED]) if isinstance(item, Tensor)]
    if len(recent) >= WANTED // 2:
        return Samples(items=recent, source=STORED)
    own, source = _come_along(predictor)
    if not recent and not own:
        return Samples(items=_make_up(predictor), source=MADE_UP, real=False)
    sources = [name for name, found in ((STORED, recent), (source, own)) if found]
    return Samples(items=(recent + own)[:WANTED], source=" and ".join(sources))


def _come_along(predictor: Predictor) -> tuple[list[Tensor], str]:
    spec = predictor.spec
    if spec.samples:
        return [_decode_sample(predictor, index) for index in range(len(spec.samples))], SHIPPED
    if spec.input.type != "image":
        return [], SHIPPED
    folder = PHOTOS_DIRECTORY / spec.input.preparation
    if not folder.is_dir():
        folder = PHOTOS_DIRECTORY / "photo"
    files = [path.read_bytes() for path in sorted(folder.glob("*.*g"))]
    items = [item for item in predictor.decode_batch(files) if isinstance(item, Tensor)]
    # A mirrored photo is as real as the other, and twice as many borderline answers are found.
    return items + [item.flip(-1) for item in items], PHOTOS


def _decode_sample(predictor: Predictor, index: int) -> Tensor:
    try:
        return predictor.decode(predictor.spec.samples[index])
    except InvalidInputError as error:
        raise InvalidSpecError(f"samples[{index}]", f"is no input of this model: {error.detail}") from error


def _make_up(predictor: Predictor) -> list[Tensor]:
    blank = blank_item(predictor.spec.input)
    if predictor.spec.input.type == "record":
        # A random number is no choice of a list; one valid record, over and over, is as good to measure speed.
        return [blank] * WANTED
    generator = torch.Generator().manual_seed(0)
    numbers = torch.randn((WANTED, *blank.shape), generator=generator)
    scaled = numbers if blank.is_floating_point() else (numbers * 64 + 128).clamp(0, 255)
    return list(scaled.to(blank.dtype).unbind(0))
