"""`store.statistics.verdicts`: what is said of two versions."""

import json

import pytest

from schemas.enums import Verdict
from store.statistics.sequences import UNKNOWN, Estimate, Interval, Mean, Proportion
from store.statistics.verdicts import Judged, check_sample_ratio, finite

CHAMPION = Proportion(9_000, 10_000)
NUMBERS = Mean(10_000, 10_000.0, 20_000.0)


@pytest.mark.parametrize(
    ("mine", "champion", "verdict"),
    [
        (Proportion(9_400, 10_000), CHAMPION, Verdict.BETTER),
        (Proportion(8_600, 10_000), CHAMPION, Verdict.WORSE),
        (Proportion(90, 100), CHAMPION, Verdict.UNDECIDED),
        (Proportion(900_000, 1_000_000), Proportion(900_000, 1_000_000), Verdict.EQUIVALENT),
        (Mean(10_000, 8_000.0, 14_000.0), NUMBERS, Verdict.BETTER),
        (Mean(10_000, 13_000.0, 27_000.0), NUMBERS, Verdict.WORSE),
        (Mean(50, 50.0, 100.0), NUMBERS, Verdict.UNDECIDED),
        (None, CHAMPION, Verdict.UNDECIDED),
        (Proportion(9, 10), None, Verdict.UNDECIDED),
    ],
)
def test_a_verdict_follows_from_the_feedback(
    mine: Estimate | None, champion: Estimate | None, verdict: Verdict
) -> None:
    assert Judged.of(2, mine, champion).verdict == verdict


def test_more_is_better_also_where_an_error_is_measured() -> None:
    judged = Judged.of(2, Mean(10_000, 8_000.0, 14_000.0), NUMBERS)

    assert judged.difference == pytest.approx(0.2)
    assert judged.interval.lower > 0.0


def test_several_versions_at_once_take_more_to_be_judged() -> None:
    mine = Proportion(920, 1_000)
    alone, one_of_five = (Judged.of(2, mine, CHAMPION, comparisons=count) for count in (1, 5))

    assert one_of_five.interval.lower < alone.interval.lower


def test_overwhelming_evidence_still_fits_json() -> None:
    judged = Judged.of(2, Proportion(0, 1_000_000), Proportion(1_000_000, 1_000_000))

    assert json.loads(json.dumps(judged.evidence, allow_nan=False)) > 1e300


def test_shares_are_compared_in_any_unit() -> None:
    found = check_sample_ratio("requests", {1: 9_500, 2: 500}, {1: 95.0, 2: 5.0})

    assert (found.is_checked, found.is_off, found.shares) == (True, False, {1: 0.95, 2: 0.05})


def test_shares_that_are_off_are_said_to_be() -> None:
    assert check_sample_ratio("requests", {1: 9_000, 2: 1_000}, {1: 95.0, 2: 5.0}).is_off


def test_one_version_alone_has_nothing_to_be_off() -> None:
    assert not check_sample_ratio("requests", {1: 9}, {1: 1.0}).is_checked


def test_an_end_that_is_not_known_is_none() -> None:
    assert finite(UNKNOWN) == {"lower": None, "upper": None}
    assert finite(Interval(0.25, 0.5)) == {"lower": 0.25, "upper": 0.5}
