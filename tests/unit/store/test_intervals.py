"""`store.intervals`: how sure a share is."""

import random

import pytest

from store.intervals import wilson_interval


def test_the_interval_is_wilsons() -> None:
    # Newcombe 1998, table I: 81 of 263.
    assert wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)


@pytest.mark.parametrize(("successes", "trials"), [(0, 1), (1, 1), (0, 10_000), (10_000, 10_000)])
def test_the_interval_holds_the_share_and_stays_within_0_and_1(successes: int, trials: int) -> None:
    low, high = wilson_interval(successes, trials)

    assert 0 <= low <= successes / trials <= high <= 1


def test_the_interval_holds_the_true_share_as_often_as_it_states() -> None:
    draw = random.Random(0)
    ends = [wilson_interval(sum(draw.random() < 0.93 for _ in range(200)), 200) for _ in range(1_000)]

    assert sum(low <= 0.93 <= high for low, high in ends) == pytest.approx(950, abs=25)
