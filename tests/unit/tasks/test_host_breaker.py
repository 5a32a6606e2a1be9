"""`tasks.host_breaker`: hosts that fail rest, and no host takes all room."""

import pytest

from tasks import host_breaker
from tasks.host_breaker import AT_ONCE, FAILURES_TO_BREAK, REST_S, HostBreaker


class Clock:
    """Stands still until a test moves it."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def broken(clock: Clock) -> HostBreaker:
    hosts = HostBreaker(clock)
    for _ in range(FAILURES_TO_BREAK):
        assert not hosts.rests("a")
        hosts.note_failure("a")
    return hosts


def test_a_host_rests_after_some_failures_in_a_row() -> None:
    hosts = broken(Clock())

    assert hosts.rests("a")
    assert not hosts.rests("b")


def test_a_host_is_asked_again_after_its_rest() -> None:
    clock = Clock()
    hosts = broken(clock)
    clock.now = REST_S

    assert not hosts.rests("a")


def test_one_more_failure_after_the_rest_is_enough() -> None:
    clock = Clock()
    hosts = broken(clock)
    clock.now = REST_S
    hosts.note_failure("a")

    assert hosts.rests("a")


def test_an_answer_makes_up_for_all_failures() -> None:
    hosts = HostBreaker(Clock())
    for _ in range(FAILURES_TO_BREAK - 1):
        hosts.note_failure("a")
    hosts.note_answer("a")
    hosts.note_failure("a")

    assert not hosts.rests("a")


def test_a_host_with_enough_requests_under_way_is_busy_until_one_ends() -> None:
    hosts = HostBreaker(Clock())
    assert all(hosts.enter("a") for _ in range(AT_ONCE))
    assert not hosts.enter("a")
    assert list(hosts.busy()) == ["a"]

    hosts.leave("a")
    assert hosts.enter("a")


def test_only_so_many_hosts_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_breaker, "HOSTS", 2)
    hosts = HostBreaker(Clock())
    for host in "abc":
        hosts.note_failure(host)

    assert list(hosts._records) == ["b", "c"]
