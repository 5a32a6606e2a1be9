"""Paired comparisons against scipy, which the product does not have, and against what they promise."""

import random

import pytest
from scipy import stats

from store.statistics.paired import (
    PairCounts,
    compare_means,
    compare_shares,
    count_pairs,
    shared_confidence,
    sum_pairs,
)


def test_pairs_are_counted_by_who_was_right() -> None:
    counted = count_pairs([(1.0, 1.0), (1.0, 0.0), (0.0, 1.0), (0.0, 1.0), (0.0, 0.0)])

    assert counted == PairCounts(both=1, candidate_only=1, baseline_only=2, neither=1)


def test_the_gain_is_the_difference_of_the_accuracies() -> None:
    gain = compare_shares(PairCounts(both=80, candidate_only=15, baseline_only=5), confidence=0.95)

    assert (gain.candidate, gain.baseline) == (0.95, 0.85)
    assert gain.gain == pytest.approx(0.1)


@pytest.mark.parametrize(("won", "lost"), [(15, 5), (0, 7), (3, 3), (4000, 3800)])
def test_the_p_value_is_mcnemars_exact_one(won: int, lost: int) -> None:
    gain = compare_shares(PairCounts(both=100, candidate_only=won, baseline_only=lost), confidence=0.95)

    assert gain.p_value == pytest.approx(stats.binomtest(won, won + lost).pvalue, rel=1e-6)


def test_the_interval_of_shares_holds_its_level() -> None:
    rng = random.Random(0)
    held = sum(_holds_the_truth(rng) for _ in range(2000))

    assert held / 2000 == pytest.approx(0.95, abs=0.02)


def test_versions_that_never_differ_leave_an_interval_around_no_gain() -> None:
    gain = compare_shares(PairCounts(both=20), confidence=0.95)

    assert gain.low < 0 < gain.high
    assert gain.p_value == 1.0


def test_the_interval_of_means_is_students() -> None:
    rng = random.Random(1)
    pairs = [(rng.gauss(0.3, 1), rng.gauss(0, 1)) for _ in range(12)]

    gain = compare_means(sum_pairs(pairs), confidence=0.95)

    expected = stats.ttest_rel(*zip(*pairs, strict=True)).confidence_interval(0.95)
    assert (gain.low, gain.high) == pytest.approx((expected.low, expected.high), rel=2e-3)


def test_the_gain_of_a_regression_is_a_share_of_the_baselines_error() -> None:
    gain = compare_means(sum_pairs([(-5.0, -10.0), (-7.0, -14.0)]), confidence=0.95, relative=True)

    assert (gain.candidate, gain.baseline, gain.gain) == (6.0, 12.0, 0.5)


@pytest.mark.parametrize("items", [0, 1])
def test_too_few_items_say_nothing(items: int) -> None:
    gain = compare_means(sum_pairs([(1.0, 0.0)] * items), confidence=0.95)

    assert (gain.low, gain.high, gain.p_value) == (float("-inf"), float("inf"), 1.0)


def test_no_items_say_nothing_of_shares() -> None:
    assert compare_shares(PairCounts(), confidence=0.95).high == float("inf")


def test_intervals_share_what_may_go_wrong() -> None:
    assert shared_confidence(0.95, 2) == pytest.approx(0.975)


def _holds_the_truth(rng: random.Random) -> bool:
    """Draw 60 pairs whose true gain is 0.15, and look whether the interval has it."""
    drawn = rng.choices([(1.0, 1.0), (1.0, 0.0), (0.0, 1.0), (0.0, 0.0)], weights=[50, 25, 10, 15], k=60)
    gain = compare_shares(count_pairs(drawn), confidence=0.95)
    return gain.low <= 0.15 <= gain.high
