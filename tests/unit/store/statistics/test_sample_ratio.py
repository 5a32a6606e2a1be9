"""`store.statistics.sample_ratio`: shares that are right and shares that are off."""

import math
import random

import pytest

from store.statistics.sample_ratio import log_evidence_of_mismatch

SHARES = [0.95, 0.05]


def test_nothing_seen_is_no_evidence() -> None:
    assert log_evidence_of_mismatch([0, 0], SHARES) == pytest.approx(0.0)


def test_the_first_request_is_as_likely_as_it_should_be() -> None:
    assert log_evidence_of_mismatch([1, 0], SHARES) == pytest.approx(0.0)


def test_two_of_two_follow_by_hand() -> None:
    # The prior of weight 100 expects a second rare one with (5 + 1) / (100 + 1) rather than 0.05.
    assert math.exp(log_evidence_of_mismatch([0, 2], SHARES)) == pytest.approx(6 / 101 / 0.05)


def test_shares_as_they_should_be_speak_for_themselves() -> None:
    assert log_evidence_of_mismatch([9_500, 500], SHARES) < 0.0


def test_shares_that_are_off_are_found() -> None:
    assert log_evidence_of_mismatch([9_300, 700], SHARES) > math.log(1_000)


def test_looking_all_the_time_seldom_raises_a_false_alarm() -> None:
    alarms = sum(_ever_alarms(seed) for seed in range(200))

    # Two are to be expected at most; more than eight happen once in a thousand times.
    assert alarms <= 8


def _ever_alarms(seed: int) -> bool:
    draw = random.Random(seed)
    counts = [0, 0]
    for _ in range(2_000):
        counts[draw.random() < 0.05] += 1
        if log_evidence_of_mismatch(counts, SHARES) >= math.log(100):
            return True
    return False
