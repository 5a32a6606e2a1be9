"""`tests.soak.report`: what counts as a leak."""

import random
from collections.abc import Sequence

import pytest

from tests.soak.report import slopes
from tests.soak.sampling import ProcessSample, Sample


def soak(memory: Sequence[float], *, pids: Sequence[int] | None = None, every: int = 0) -> list[Sample]:
    """A soak of one process, sampled every 10 s, with a fault before each so manieth sample."""
    pids = pids or [7] * len(memory)
    return [
        Sample(
            at_s=10.0 * number,
            processes={"web": ProcessSample(pid=pid, rss_mb=rss, fds=20, threads=5)},
            dead_tuples=0,
            queue_age_s=0.0,
            p99_ms=5.0,
            answers=100,
            fault="a fault" if every and number % every == 0 else "",
        )
        for number, (rss, pid) in enumerate(zip(memory, pids, strict=True))
    ]


def verdict(samples: Sequence[Sample]) -> str:
    return next(slope.verdict for slope in slopes(samples) if slope.figure == "rss_mb")


RNG = random.Random(4)


def noise() -> float:
    return RNG.gauss(0, 0.3)


def test_memory_that_only_trembles_is_no_leak() -> None:
    assert verdict(soak([100 + noise() for _ in range(200)])) != "grows"


def test_memory_that_grows_steadily_is_a_leak() -> None:
    assert verdict(soak([100 + number * 0.1 + noise() for number in range(200)])) == "grows"


def test_what_fills_in_the_first_minutes_is_no_leak() -> None:
    assert verdict(soak([60 + min(number, 40) + noise() for number in range(200)])) != "grows"


def test_two_lives_are_not_taken_for_one_that_grew() -> None:
    memory = [50 + noise() for _ in range(100)] + [90 + noise() for _ in range(101)]

    assert verdict(soak(memory, pids=[1] * 100 + [2] * 101)) != "grows"


def test_the_steps_of_faults_are_no_growth_between_them() -> None:
    memory = [100 + (number // 12) * 0.5 + noise() for number in range(200)]

    assert verdict(soak(memory, every=12)) != "grows"


def test_steps_do_not_hide_a_leak_between_them() -> None:
    memory = [100 + (number // 12) * 0.5 + number * 0.1 + noise() for number in range(200)]

    assert verdict(soak(memory, every=12)) == "grows"


def test_what_every_fault_leaves_behind_is_a_leak() -> None:
    memory = [100.0 + (number // 12) * 3 + noise() for number in range(200)]

    assert verdict(soak(memory, every=12)) == "grows"


@pytest.mark.parametrize("count", [0, 5])
def test_a_short_life_is_not_judged(count: int) -> None:
    assert slopes(soak([100.0] * count)) == []
