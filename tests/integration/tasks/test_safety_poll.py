"""`tasks.safety_poll`: rows whose doorbell was lost are found."""

from collections.abc import Callable, Iterator

import pytest
import redis
from sqlalchemy.exc import OperationalError

from stack.embedded import free_port
from store.replies import connect_redis
from tasks.drainer import Drainer
from tasks.safety_poll import SafetyPoll
from tests.factories import Rows
from tests.running import wait_until

LOOK_S = 5.0

StartPoll = Callable[..., SafetyPoll]


class Looks:
    """Stands for a drain: has rows left for the first looks, or fails them."""

    def __init__(self, *, rows_left: int = 0, fault: Exception | None = None) -> None:
        self._rows_left = rows_left
        self._fault = fault
        self.count = 0

    def __call__(self) -> bool:
        self.count += 1
        if self._fault is not None:
            fault, self._fault = self._fault, None
            raise fault
        return self.count <= self._rows_left

    def wait_for(self, count: int) -> None:
        """Wait until there were so many."""
        wait_until(lambda: self.count >= count, LOOK_S)


@pytest.fixture
def start_poll(monkeypatch: pytest.MonkeyPatch) -> Iterator[StartPoll]:
    """Start a poll that looks as often as it can; ended with the test."""
    monkeypatch.setattr("tasks.safety_poll.UNHEALTHY_S", 0.01)
    started = []

    def start(drain: Callable[[], bool], broker: redis.Redis) -> SafetyPoll:
        poll = SafetyPoll(drain, broker)
        poll.start()
        started.append(poll)
        return poll

    yield start
    for poll in started:
        poll.stop()


def test_rows_are_answered_without_a_doorbell(
    start_poll: StartPoll, drainer: Drainer, committed: Rows, away: redis.Redis
) -> None:
    prediction_id = committed.add()

    start_poll(drainer.drain, away)

    wait_until(lambda: committed.status(prediction_id) == "succeeded", LOOK_S)


def test_a_poll_looks_now_and_then_while_the_broker_answers(
    start_poll: StartPoll, valkey: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.safety_poll.HEALTHY_S", 0.02)
    looks = Looks()

    start_poll(looks, valkey)

    looks.wait_for(2)


def test_a_healthy_broker_is_left_to_ring(start_poll: StartPoll, valkey: redis.Redis, away: redis.Redis) -> None:
    idle, busy = Looks(), Looks()
    start_poll(idle, valkey)
    start_poll(busy, away)

    busy.wait_for(5)

    assert idle.count == 0


def test_a_poll_drains_until_nothing_is_left(start_poll: StartPoll, away: redis.Redis) -> None:
    looks = Looks(rows_left=2)

    poll = start_poll(looks, away)
    looks.wait_for(1)
    poll.stop()

    assert looks.count >= 3


@pytest.mark.parametrize(
    "fault", [OperationalError("SELECT 1", {}, Exception("away")), RuntimeError("a fault of ours")]
)
def test_a_poll_outlives_a_drain_that_fails(start_poll: StartPoll, away: redis.Redis, fault: Exception) -> None:
    looks = Looks(fault=fault)

    start_poll(looks, away)

    looks.wait_for(2)


def test_a_poll_that_never_started_can_be_stopped(valkey: redis.Redis) -> None:
    SafetyPoll(Looks(), valkey).stop()


@pytest.fixture
def away() -> redis.Redis:
    """A client of a broker that is not there."""
    return connect_redis(f"redis://127.0.0.1:{free_port()}/0")
