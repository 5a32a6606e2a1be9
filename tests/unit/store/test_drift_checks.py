"""How often `store.drift_checks` is alarmed over nothing, and whether it sees what is there.

Answers are drawn as a real version of `fashion` gives them: labels of ten kinds, scores near 1 with a long tail.
"""

import random
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from schemas.drift import DriftSettings
from store.drift_checks import _compare_feedback, _compare_shapes, _describe

DEFAULTS = DriftSettings()

LABELS = [f"kind {number}" for number in range(10)]

CHECKS = 40
"""Windows of one stream that are checked, each with all new answers."""

STREAMS = 40


class Answer(NamedTuple):
    """As a row of `drift_sql` gives it."""

    id: int
    label: str
    score: float


def stream(seed: int) -> Iterator[Answer]:
    draw = random.Random(seed)
    # Each stream has shares and a sureness of its own.
    shares = [draw.uniform(0.3, 1.0) for _ in LABELS]
    sureness = draw.uniform(8, 30)
    number = 0
    while True:
        number += 1
        yield Answer(number, draw.choices(LABELS, shares)[0], draw.betavariate(sureness, 1))


def take(answers: Iterator[Answer], count: int) -> Any:
    return [next(answers) for _ in range(count)]


def test_answers_of_one_source_raise_next_to_no_alarm() -> None:
    over = 0
    for seed in range(STREAMS):
        answers = stream(seed)
        reference = _describe(take(answers, DEFAULTS.reference))
        for _ in range(CHECKS):
            over += sum(each.is_over for each in _compare_shapes(reference, take(answers, DEFAULTS.window), DEFAULTS))

    # 3,200 comparisons; two in a row would be needed for an alarm.
    assert over == 0


@pytest.mark.parametrize(("reference", "window"), [(100, 100), (200, 100), (1000, 100)])
def test_small_samples_are_over_no_more_often_than_chance_may(reference: int, window: int) -> None:
    settings = DriftSettings(reference=reference, window=window, alpha=0.01)
    comparisons = over = 0
    for seed in range(STREAMS):
        answers = stream(seed)
        usual = _describe(take(answers, reference))
        for _ in range(CHECKS):
            found = _compare_shapes(usual, take(answers, window), settings)
            comparisons += len(found)
            over += sum(each.is_over for each in found)

    # The windows of a stream share its reference, so they err together: twice what is stated is allowed for.
    assert over / comparisons <= 2 * settings.alpha


def test_a_third_of_other_answers_is_seen_at_once() -> None:
    for seed in range(STREAMS):
        answers = stream(seed)
        reference = _describe(take(answers, DEFAULTS.reference))
        draw = random.Random(-seed)
        window = [
            each if draw.random() < 2 / 3 else each._replace(label=LABELS[0], score=draw.uniform(0.2, 0.8))
            for each in take(answers, DEFAULTS.window)
        ]

        assert all(each.is_over for each in _compare_shapes(reference, window, DEFAULTS))


def test_accuracy_that_stays_raises_next_to_no_alarm_and_a_fall_is_seen() -> None:
    draw = random.Random(0)
    over, seen = 0, 0
    for _ in range(400):
        usual, same, worse = (tally(draw, share, DEFAULTS.window) for share in (0.93, 0.93, 0.80))
        over += sum(each.is_over for each in _compare_feedback(usual, same, DEFAULTS))
        seen += sum(each.is_over for each in _compare_feedback(usual, worse, DEFAULTS))

    assert over == 0
    assert seen >= 396


def tally(draw: random.Random, share: float, count: int) -> dict[str, Any]:
    return {"judged": count, "correct": sum(draw.random() < share for _ in range(count)), "measured": 0}
