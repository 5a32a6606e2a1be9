"""`store.statistics.sequences`: against values that follow by hand, and by what they promise, in simulation."""

import math
import random

import pytest

from store.statistics.sequences import EMPTY, LEAST_MEASURED, UNKNOWN, Estimate, Interval, Mean, Proportion

ALPHA = 0.05


def mean_of(values: list[float]) -> Mean:
    return Mean(len(values), sum(values), sum(value * value for value in values))


def test_the_evidence_of_one_hit_is_that_of_the_mixture() -> None:
    # Under Jeffreys' prior one hit has probability 1/2; under a true share of 0.1 it has 0.1.
    assert math.exp(Proportion(1, 1).log_evidence(0.1)) == pytest.approx(5.0)


def test_evidence_is_a_fair_bet_while_the_share_is_true() -> None:
    # Over all ways in which ten trials can end, what one unit becomes is one unit on average.
    truth = 0.3
    ways = [(math.comb(10, hits) * truth**hits * (1 - truth) ** (10 - hits), hits) for hits in range(11)]

    assert sum(chance * math.exp(Proportion(hits, 10).log_evidence(truth)) for chance, hits in ways) == pytest.approx(
        1.0
    )


def test_the_ends_of_an_interval_are_where_the_evidence_reaches_its_limit() -> None:
    seen = Proportion(900, 1000)
    interval = seen.interval(ALPHA)

    assert [math.exp(seen.log_evidence(end)) for end in (interval.lower, interval.upper)] == pytest.approx([20, 20])
    assert (interval.lower, interval.upper) == pytest.approx((0.861816, 0.931098), abs=1e-5)


@pytest.mark.parametrize(("seen", "end"), [(Proportion(0, 50), "lower"), (Proportion(50, 50), "upper")])
def test_what_never_failed_may_never_fail(seen: Proportion, end: str) -> None:
    assert getattr(seen.interval(ALPHA), end) == {"lower": 0.0, "upper": 1.0}[end]


def test_nothing_seen_is_nothing_known() -> None:
    assert EMPTY.value is None
    assert EMPTY.interval(ALPHA) == Interval(0.0, 1.0)
    assert EMPTY.minus(Proportion(1, 2), ALPHA) == Interval(-1.0, 1.0)
    assert EMPTY.log_evidence_of_difference(EMPTY) == 0.0


def test_a_difference_excludes_zero_when_there_is_evidence_against_equality() -> None:
    few, many = (Proportion(80, 100), Proportion(96, 100)), (Proportion(800, 1000), Proportion(960, 1000))

    for worse, better in (few, many):
        excludes = better.minus(worse, ALPHA).lower > 0.0
        assert excludes == (better.log_evidence_of_difference(worse) > math.log(1 / ALPHA))
        assert excludes == better.is_more_by(worse, 0.0, ALPHA)
    assert not few[1].is_more_by(few[0], 0.0, ALPHA)
    assert many[1].is_more_by(many[0], 0.0, ALPHA)


def test_more_by_a_margin_is_what_the_interval_says() -> None:
    better, worse = Proportion(960, 1000), Proportion(800, 1000)
    lower = better.minus(worse, ALPHA).lower

    assert better.is_more_by(worse, lower - 1e-6, ALPHA)
    assert not better.is_more_by(worse, lower + 1e-6, ALPHA)
    assert not worse.is_more_by(better, 0.0, ALPHA)
    assert not EMPTY.is_more_by(worse, 0.0, ALPHA)


def test_the_interval_of_both_is_shorter_than_that_of_two() -> None:
    mine, theirs = Proportion(940, 1000), Proportion(900, 1000)
    both, each, other = mine.minus(theirs, ALPHA), mine.interval(ALPHA / 2), theirs.interval(ALPHA / 2)

    assert both.upper - both.lower < (each.upper - each.lower) + (other.upper - other.lower)
    assert both.lower < 0.04 < both.upper


def test_a_difference_looks_the_same_from_both_sides() -> None:
    mine, theirs = Proportion(94, 100), Proportion(900, 1000)
    there, back = mine.minus(theirs, ALPHA), theirs.minus(mine, ALPHA)

    assert (there.lower, there.upper) == pytest.approx((-back.upper, -back.lower), abs=1e-6)


def test_few_numbers_tell_nothing_of_a_mean() -> None:
    few = mean_of([float(each) for each in range(LEAST_MEASURED - 1)])

    assert few.interval(ALPHA) == UNKNOWN
    assert few.minus(few, ALPHA) == UNKNOWN
    assert few.log_evidence(100.0) == few.log_evidence_of_difference(few) == 0.0
    assert Mean(0, 0.0, 0.0).value is None


def test_a_mean_lies_in_the_middle_of_its_interval() -> None:
    seen = mean_of([1.0, 3.0] * 500)
    interval = seen.interval(ALPHA)

    assert seen.value == 2.0
    assert seen.variance == pytest.approx(1.0, rel=1e-2)
    assert (interval.lower + interval.upper) / 2 == pytest.approx(2.0)
    assert math.exp(seen.log_evidence(interval.upper)) == pytest.approx(1 / ALPHA)


def test_the_difference_of_means_excludes_zero_when_there_is_evidence() -> None:
    less, more = mean_of([1.0, 3.0] * 500), mean_of([1.2, 3.2] * 500)

    assert (more.minus(less, ALPHA).lower > 0.0) == (more.log_evidence_of_difference(less) > math.log(1 / ALPHA))
    assert more.is_more_by(less, 0.0, ALPHA)
    assert not more.is_more_by(less, 0.15, ALPHA)


def test_the_truth_stays_inside_at_all_times() -> None:
    missed = sum(_ever_misses_share(seed) for seed in range(300))

    # With 300 tries of at most 5 % each, more than 25 happen once in a thousand times.
    assert missed <= 25


def test_the_mean_stays_inside_at_all_times() -> None:
    missed = sum(_ever_misses_mean(seed) for seed in range(200))

    assert missed <= 18


@pytest.mark.parametrize("estimate", [Proportion(5, 10), mean_of([0.0, 1.0] * 50)])
def test_more_certainty_is_a_wider_interval(estimate: Estimate) -> None:
    wide, narrow = estimate.interval(0.01), estimate.interval(0.1)

    assert wide.lower < narrow.lower < narrow.upper < wide.upper


def _ever_misses_share(seed: int) -> bool:
    draw = random.Random(seed)
    hits = 0
    for trials in range(1, 1001):
        hits += draw.random() < 0.9
        if Proportion(hits, trials).log_evidence(0.9) >= math.log(1 / ALPHA):
            return True
    return False


def _ever_misses_mean(seed: int) -> bool:
    draw = random.Random(seed)
    values = [draw.expovariate(1.0) for _ in range(1000)]
    total = squares = 0.0
    for trials, value in enumerate(values, 1):
        total, squares = total + value, squares + value * value
        if trials >= 100 and Mean(trials, total, squares).log_evidence(1.0) >= math.log(1 / ALPHA):
            return True
    return False
