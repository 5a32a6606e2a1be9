"""Drift on real answers: what the bundled `fashion` says of the test photos of Fashion-MNIST, as they are and shifted.

The network is asked directly: the preparation of `fashion` undoes an inversion before it.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import pytest
import torch

from ml.bundles import BUNDLED_DIRECTORY, read_bundle
from ml.datasets.fashion_mnist import DEFAULT_DIRECTORY, LabelledImages, load_split
from ml.errors import NonFiniteOutputError
from schemas.drift import DriftSettings
from store.drift_checks import Figure, _compare_feedback, _compare_shapes, _describe

pytestmark = pytest.mark.skipif(not DEFAULT_DIRECTORY.exists(), reason="Debian's dataset-fashion-mnist is not here")

DEFAULTS = DriftSettings()

PHOTOS = 4_000
SHIFTED = 500
DRAWS = 500

Images = torch.Tensor

SHIFTS: dict[str, Callable[[Images], Images]] = {
    "inverted": lambda images: 255 - images,
    "rotated": lambda images: images.rot90(1, dims=(2, 3)),
    "inverted and rotated": lambda images: 255 - images.rot90(1, dims=(2, 3)),
}


class Answer(NamedTuple):
    """As a row of `drift_sql` gives it, and whether it is right."""

    id: int
    label: str
    score: float
    is_correct: bool


@pytest.fixture(scope="module")
def photos() -> LabelledImages:
    return load_split("test").part(0, PHOTOS)


@pytest.fixture(scope="module")
def ask() -> Callable[[Images, torch.Tensor], list[Answer]]:
    """Ask the network about photos."""
    predictor = read_bundle(BUNDLED_DIRECTORY / "fashion").build()

    def answers(images: Images, targets: torch.Tensor) -> list[Answer]:
        with torch.inference_mode():
            results = predictor.encode_batch(predictor.forward(images.contiguous()))
        rows = []
        for number, (result, target) in enumerate(zip(results, targets.tolist(), strict=True)):
            assert not isinstance(result, NonFiniteOutputError)
            label = result["label"]
            rows.append(Answer(number, label, result["score"], label == predictor.spec.labels[target]))
        return rows

    return answers


@pytest.fixture(scope="module")
def usual(photos: LabelledImages, ask: Callable[[Images, torch.Tensor], list[Answer]]) -> list[Answer]:
    return ask(photos.images, photos.targets)


def compare(reference: Sequence[Answer], window: Sequence[Answer]) -> list[Figure]:
    """All that a check compares."""
    shapes = _compare_shapes(_describe(reference), window, DEFAULTS)  # type: ignore[arg-type]
    return [*shapes, *_compare_feedback(_tally(reference), _tally(window), DEFAULTS)]


@pytest.mark.parametrize("shift", SHIFTS)
def test_shifted_photos_are_over_every_threshold(
    photos: LabelledImages, ask: Callable[[Images, torch.Tensor], list[Answer]], usual: list[Answer], shift: str
) -> None:
    part = photos.part(PHOTOS - SHIFTED)

    figures = compare(usual[: DEFAULTS.reference], ask(SHIFTS[shift](part.images), part.targets))

    assert {str(figure.measure): figure.is_over for figure in figures} == {
        "labels": True,
        "scores": True,
        "accuracy": True,
    }


def test_other_photos_of_the_same_kind_are_over_none(usual: list[Answer]) -> None:
    """Draws a reference and a window, which share no photo, anew each time: 1,500 comparisons."""
    draw = torch.Generator().manual_seed(0)
    over = 0
    for _ in range(DRAWS):
        order = torch.randperm(len(usual), generator=draw).tolist()
        chosen = [usual[index] for index in order[: DEFAULTS.reference + DEFAULTS.window]]
        over += sum(figure.is_over for figure in compare(chosen[: DEFAULTS.reference], chosen[DEFAULTS.reference :]))

    assert over == 0


def _tally(rows: Sequence[Answer]) -> dict[str, Any]:
    return {"judged": len(rows), "correct": sum(row.is_correct for row in rows), "measured": 0}
