"""`store.statistics.fixed_split`: the tighter interval of a difference where shares follow from nothing."""

import math
import random

import pytest

from store.statistics.fixed_split import difference_interval, log_evidence_of_difference
from store.statistics.sequences import EMPTY, UNKNOWN, Mean, Proportion

ALPHA = 0.05
LIMIT = -math.log(ALPHA)

BETTER, WORSE = Proportion(880, 1_000), Proportion(7_380, 9_000)

LESS, MORE = Mean(2_000, 1_000.0, 900.0), Mean(3_000, 1_700.0, 1_500.0)


def test_an_interval_excludes_zero_when_the_evidence_suffices() -> None:
    for trials in range(100, 1_000, 50):
        mine, theirs = Proportion(round(0.88 * trials), trials), Proportion(round(7.38 * trials), 9 * trials)
        excludes = difference_interval(mine, theirs, ALPHA).lower > 0.0
        assert excludes == (log_evidence_of_difference(mine, theirs) > LIMIT)
    assert excludes


def test_it_is_tighter_than_the_product_of_both() -> None:
    alone, product = difference_interval(BETTER, WORSE, ALPHA), BETTER.minus(WORSE, ALPHA)

    assert (alone.upper - alone.lower) < 0.8 * (product.upper - product.lower)


def test_the_other_way_round_is_the_same_interval_mirrored() -> None:
    there, back = difference_interval(LESS, MORE, ALPHA), difference_interval(MORE, LESS, ALPHA)

    assert (there.lower, there.upper) == pytest.approx((-back.upper, -back.lower))


@pytest.mark.parametrize(
    ("mine", "theirs"),
    [
        (EMPTY, WORSE),
        (Proportion(29, 29), WORSE),
        # A hundred answers of a version that fails once in a hundred have shown one failure.
        (Proportion(100, 100), Proportion(8_910, 9_000)),
    ],
)
def test_too_few_answers_say_nothing(mine: Proportion, theirs: Proportion) -> None:
    assert difference_interval(mine, theirs, ALPHA) == UNKNOWN
    assert log_evidence_of_difference(mine, theirs) == 0.0


def test_numbers_without_spread_say_nothing() -> None:
    assert difference_interval(Mean(50, 50.0, 50.0), Mean(50, 50.0, 50.0), ALPHA) == UNKNOWN


@pytest.mark.parametrize("share", [0.5, 0.05])
def test_looking_all_the_time_seldom_finds_what_is_not_there(share: float) -> None:
    alarms = sum(_ever_alarms(random.Random(seed), share) for seed in range(60))

    # One in twenty at most; so many in 60 would come once in a thousand times.
    assert alarms <= 9


def _ever_alarms(draw: random.Random, share: float) -> bool:
    """Let two equally good versions answer, and look after each tenth answer."""
    seen = [EMPTY, EMPTY]
    for number in range(2_000):
        chosen = draw.random() < share
        seen[chosen] = Proportion(seen[chosen].hits + (draw.random() < 0.9), seen[chosen].trials + 1)
        if number % 10 == 0 and log_evidence_of_difference(*seen) >= LIMIT:
            return True
    return False
