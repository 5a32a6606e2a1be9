"""`store.guards`: which version is clearly worse."""

import pytest

from schemas.traffic import Guards
from store.comparison import LEAST_FOR_P99, Latencies, Served
from store.guards import find_breach
from store.statistics.sequences import Mean, Proportion

FAST, SLOW = 60, 100
"""Buckets about 4.8 times apart."""


def served(number: int, failed: int = 0, of: int = 1_000, bucket: int = FAST, **changes: object) -> Served:
    return Served(number, number, Proportion(failed, of), Latencies({bucket: of}), **changes)  # type: ignore[arg-type]


CHAMPION = served(1, failed=5, of=10_000, quality=Proportion(9_000, 10_000))


def test_a_version_as_good_breaks_nothing() -> None:
    assert find_breach(Guards(), CHAMPION, [served(2, quality=Proportion(900, 1_000))]) is None


def test_a_version_that_fails_more_often_is_found() -> None:
    breach = find_breach(Guards(), CHAMPION, [served(2), served(3, failed=100)])

    assert breach is not None
    assert (breach.number, breach.guard) == (3, "error_rate_rise")
    assert breach.reason == (
        "version 3 broke the guard error_rate_rise: 10.00% of its predictions fail, 0.05% of the champion's"
    )
    assert breach.figures == {
        "guard": "error_rate_rise",
        "limit": 0.02,
        "version": 3,
        "failed": 100,
        "of": 1_000,
        "champion_failed": 5,
        "champion_of": 10_000,
    }


def test_a_few_failures_are_not_clear() -> None:
    assert find_breach(Guards(), CHAMPION, [served(2, failed=2, of=10)]) is None


def test_failures_within_what_is_allowed_are_fine() -> None:
    assert find_breach(Guards(error_rate_rise=0.2), CHAMPION, [served(2, failed=100)]) is None


def test_a_slow_version_is_found() -> None:
    breach = find_breach(Guards(), CHAMPION, [served(2, bucket=SLOW)])

    assert breach is not None
    assert breach.guard == "latency_ratio"
    assert breach.figures["p99_ms"] > 4 * breach.figures["champion_p99_ms"]


def test_a_version_that_is_a_little_slower_is_fine() -> None:
    assert find_breach(Guards(), CHAMPION, [served(2, bucket=FAST + 10)]) is None


def test_latency_is_not_judged_by_few_answers_of_the_champion() -> None:
    champion = served(1, of=LEAST_FOR_P99 - 1)

    assert find_breach(Guards(), champion, [served(2, bucket=SLOW)]) is None


def test_a_version_that_is_wrong_more_often_is_found() -> None:
    breach = find_breach(Guards(), CHAMPION, [served(2, quality=Proportion(700, 1_000))])

    assert breach is not None
    assert breach.guard == "quality_drop"
    assert breach.figures["value"] == 0.7


def test_a_version_whose_numbers_are_further_off_is_found() -> None:
    champion = served(1, quality=Mean(1_000, 1_000.0, 2_000.0))
    breach = find_breach(Guards(), champion, [served(2, quality=Mean(1_000, 1_500.0, 4_000.0))])

    assert breach is not None
    assert "off by 1.5 on average, the champion's by 1" in breach.reason


def test_a_version_that_is_right_more_often_breaks_nothing() -> None:
    assert find_breach(Guards(), CHAMPION, [served(2, quality=Proportion(990, 1_000))]) is None


@pytest.mark.parametrize(
    "challenger", [served(2, failed=500), served(2, bucket=SLOW), served(2, quality=Proportion(0, 1_000))]
)
def test_guards_that_are_off_stop_nothing(challenger: Served) -> None:
    off = Guards(error_rate_rise=None, latency_ratio=None, quality_drop=None)

    assert find_breach(off, CHAMPION, [challenger]) is None


def test_percentiles_are_by_rank() -> None:
    latencies = Latencies({10: 50, 20: 48, 90: 2})

    assert [latencies.percentile_bucket(share) for share in (0.5, 0.98, 0.99)] == [10, 20, 90]
    assert Latencies().percentile_ms(0.5) is None
