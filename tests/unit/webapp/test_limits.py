"""`webapp.limits`: what a key may ask of one process."""

import pytest

from store.keys import KeyLimits, Principal
from webapp.errors import RateLimitedError, TooManyRequestsError
from webapp.limits import KeyMeters


class Clock:
    """A clock that a test turns."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("webapp.limits.time", clock)
    return clock


def caller(key: int = 1, **limits: int) -> Principal:
    return Principal(key, "id", frozenset(), "tests", KeyLimits(**limits))


def count_let_in(meters: KeyMeters, who: Principal, tries: int) -> int:
    """Send requests until one is refused; tells how many were not."""
    for number in range(tries):
        try:
            meters.enter(who)
        except RateLimitedError:
            return number
    return tries


def test_a_key_without_limits_may_ask_as_it_likes() -> None:
    assert count_let_in(KeyMeters(), Principal(1, "id", frozenset(), "tests", None), 1000) == 1000


def test_a_burst_is_let_in_and_no_more(clock: Clock) -> None:  # noqa: ARG001 - stands still
    assert count_let_in(KeyMeters(), caller(rate_per_minute=60, burst=5), 100) == 5


def test_without_a_burst_the_requests_of_a_minute_may_come_at_once(clock: Clock) -> None:  # noqa: ARG001
    assert count_let_in(KeyMeters(), caller(rate_per_minute=60), 100) == 60


def test_time_gives_more(clock: Clock) -> None:
    meters, who = KeyMeters(), caller(rate_per_minute=60, burst=5)
    count_let_in(meters, who, 100)

    clock.now += 3.0

    assert count_let_in(meters, who, 100) == 3


def test_a_pause_gives_no_more_than_a_burst(clock: Clock) -> None:
    meters, who = KeyMeters(), caller(rate_per_minute=60, burst=5)
    count_let_in(meters, who, 100)

    clock.now += 3600.0

    assert count_let_in(meters, who, 100) == 5


def test_a_refusal_says_when_there_is_more(clock: Clock) -> None:  # noqa: ARG001
    meters, who = KeyMeters(), caller(rate_per_minute=6, burst=1)
    meters.enter(who)

    with pytest.raises(RateLimitedError, match="6 requests a minute") as refused:
        meters.enter(who)

    assert refused.value.retry_after_s == pytest.approx(10.0)


def test_each_of_several_processes_lets_in_its_part(clock: Clock) -> None:  # noqa: ARG001
    assert count_let_in(KeyMeters(processes=4), caller(rate_per_minute=60, burst=8), 100) == 2


def test_no_key_is_shut_out_by_the_number_of_processes(clock: Clock) -> None:  # noqa: ARG001
    assert count_let_in(KeyMeters(processes=4), caller(rate_per_minute=1), 100) == 1


def test_no_more_are_answered_at_once_than_may_be() -> None:
    meters, who = KeyMeters(), caller(max_concurrent=2)
    meters.enter(who)
    meters.enter(who)

    with pytest.raises(TooManyRequestsError, match="2 requests answered at once"):
        meters.enter(who)


def test_one_that_ended_makes_room_for_another() -> None:
    meters, who = KeyMeters(), caller(max_concurrent=1)
    meters.enter(who)
    meters.leave(who)

    meters.enter(who)


def test_one_that_was_refused_takes_no_room(clock: Clock) -> None:
    meters, who = KeyMeters(), caller(rate_per_minute=60, burst=1, max_concurrent=2)
    meters.enter(who)
    with pytest.raises(RateLimitedError):
        meters.enter(who)

    clock.now += 1.0

    meters.enter(who)


def test_keys_do_not_share_what_they_may() -> None:
    meters = KeyMeters()
    meters.enter(caller(1, max_concurrent=1))

    meters.enter(caller(2, max_concurrent=1))


def test_new_limits_count_at_once_and_know_what_is_being_answered() -> None:
    meters = KeyMeters()
    meters.enter(caller(max_concurrent=1))

    meters.enter(caller(max_concurrent=2))
    with pytest.raises(TooManyRequestsError):
        meters.enter(caller(max_concurrent=2))
