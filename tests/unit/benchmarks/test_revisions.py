"""`benchmarks.revisions`: what is told of two revisions that ran in pairs."""

import pytest

from benchmarks.report import Figure
from benchmarks.revisions import Measured, compare

OLD = Measured(per_second=1_000, lone_ms=10, web_mib=100, worker_mib=600)
SAME = Measured(per_second=960, lone_ms=10.4, web_mib=104, worker_mib=620)
SLOW = Measured(per_second=900, lone_ms=11, web_mib=110, worker_mib=700)


def _met(figures: list[Figure]) -> list[bool | None]:
    return [figure.met for figure in figures]


def test_a_twentieth_is_no_difference() -> None:
    assert _met(compare([(SAME, OLD)])) == [True] * 4


def test_more_than_a_twentieth_is() -> None:
    assert _met(compare([(SLOW, OLD)])) == [False] * 4


def test_the_ratio_is_of_pairs_and_one_noisy_pair_decides_nothing() -> None:
    twice_as_fast = Measured(per_second=2_000, lone_ms=5, web_mib=100, worker_mib=600)

    figures = compare([(OLD, OLD), (twice_as_fast, twice_as_fast), (SLOW, OLD)])

    assert figures[0].value == pytest.approx(1.0)
    assert "3 pairs from 0.90 to 1.00" in figures[0].note
