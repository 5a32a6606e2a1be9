"""`webapp.replies`: the listener that wakes who waits, whatever happens to notifications."""

from collections.abc import Callable, Iterator, Sequence
from uuid import UUID

import pytest
import redis
from sqlalchemy import Engine as Database
from sqlalchemy.exc import OperationalError

from schemas.messages import PredictionFinished
from schemas.names import FINISHED_CHANNEL, IDLE_CHANNEL, reply_channel
from stack.embedded import free_port
from store import ledger
from store.ledger_rows import Finished
from store.replies import connect_redis, publish, publish_forgotten, publish_idle
from tests.factories import Rows, success
from tests.running import wait_until
from webapp.replies import ReplyListener

CHANNEL = reply_channel("tests")


class Heard:
    """Notes what a listener tells."""

    def __init__(self) -> None:
        self.finished: list[str] = []
        self.idle: list[str] = []
        self.forgotten: list[tuple[int, int]] = []
        self.events: list[PredictionFinished] = []

    def note_finished(self, events: Sequence[PredictionFinished]) -> None:
        self.finished += [event.id for event in events]

    def note_idle(self, queues: Sequence[str]) -> None:
        self.idle += queues

    def note_forgotten(self, answered: Sequence[tuple[int, int]]) -> None:
        self.forgotten += answered

    def wake(self, event: PredictionFinished | None) -> None:
        """Stand for a request that waits."""
        assert event is not None, "nobody ends this process"
        self.events.append(event)

    def wait_for_event(self, count: int = 1) -> None:
        """Wait until so many requests were woken."""
        wait_until(lambda: len(self.events) >= count)


StartListener = Callable[..., ReplyListener]


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def start(redis_url: str, database: Database, heard: Heard, valkey: redis.Redis) -> Iterator[StartListener]:
    """Start a listener that is heard by the broker; ended with the test."""
    started = []

    def start_listener(url: str = redis_url) -> ReplyListener:
        client = connect_redis(url, timeout_s=None)
        listener = ReplyListener(
            client,
            database,
            CHANNEL,
            on_finished=heard.note_finished,
            on_idle=heard.note_idle,
            on_forgotten=heard.note_forgotten,
        )
        listener.start()
        started.append(listener)
        if url == redis_url:
            wait_until(lambda: bool(valkey.pubsub_numsub(CHANNEL)[0][1]))
        return listener

    yield start_listener
    for listener in started:
        listener.stop()


@pytest.fixture
def seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows are hardly ever looked at, so that only notifications are fast."""
    monkeypatch.setattr("webapp.replies.HEALTHY_POLL_S", 1e9)


@pytest.mark.usefixtures("seldom")
def test_who_waits_is_told_the_outcome(
    start: StartListener, heard: Heard, committed: Rows, valkey: redis.Redis
) -> None:
    claim = committed.claim_one(reply_channel=CHANNEL)
    start().expect(claim.id, heard.wake)

    publish(valkey, ledger.complete(committed.connection, [success(claim)]))

    heard.wait_for_event()
    assert [(event.id, event.status) for event in heard.events] == [(str(claim.id), "succeeded")]


@pytest.mark.usefixtures("seldom")
def test_all_who_wait_for_one_prediction_are_told(
    start: StartListener, heard: Heard, committed: Rows, valkey: redis.Redis
) -> None:
    prediction_id = committed.add(reply_channel=CHANNEL)
    listener = start()
    for _ in range(2):
        listener.expect(prediction_id, heard.wake)

    publish(valkey, ledger.cancel(committed.connection, prediction_id))

    heard.wait_for_event(2)


@pytest.mark.usefixtures("seldom")
def test_who_waits_for_another_processs_prediction_is_told(
    start: StartListener, heard: Heard, committed: Rows, valkey: redis.Redis
) -> None:
    prediction_id = committed.add(reply_channel=reply_channel("another"))
    start().expect(prediction_id, heard.wake)

    publish(valkey, ledger.cancel(committed.connection, prediction_id))

    heard.wait_for_event()


@pytest.mark.usefixtures("seldom")
def test_who_waits_no_longer_is_not_told(
    start: StartListener, heard: Heard, committed: Rows, valkey: redis.Redis
) -> None:
    given_up, waiting = committed.add_many(2, reply_channel=CHANNEL)
    listener = start()
    for each in (given_up, waiting):
        listener.expect(each, heard.wake)
    listener.forget(given_up, heard.wake)

    _cancel_all(committed, valkey, given_up, waiting)

    heard.wait_for_event()
    assert [event.id for event in heard.events] == [str(waiting)]


@pytest.mark.usefixtures("seldom")
def test_one_who_gives_up_leaves_the_others_waiting(
    start: StartListener, heard: Heard, committed: Rows, valkey: redis.Redis
) -> None:
    prediction_id, other = committed.add(reply_channel=CHANNEL), Heard()
    listener = start()
    for waiter in (heard, other):
        listener.expect(prediction_id, waiter.wake)
    listener.forget(prediction_id, other.wake)

    _cancel_all(committed, valkey, prediction_id)

    heard.wait_for_event()
    assert other.events == []


def test_an_outcome_whose_notification_was_lost_is_read(
    start: StartListener, heard: Heard, committed: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("webapp.replies.HEALTHY_POLL_S", 0.01)
    prediction_id = committed.add()
    start().expect(prediction_id, heard.wake)

    ledger.cancel(committed.connection, prediction_id)

    heard.wait_for_event()


def test_an_outcome_is_read_while_the_broker_is_away(start: StartListener, heard: Heard, committed: Rows) -> None:
    prediction_id = committed.add()
    start(f"redis://127.0.0.1:{free_port()}/0").expect(prediction_id, heard.wake)

    ledger.cancel(committed.connection, prediction_id)

    heard.wait_for_event()


@pytest.mark.usefixtures("seldom")
def test_a_listener_hears_again_after_its_connection_was_cut(
    start: StartListener, heard: Heard, committed: Rows, valkey: redis.Redis
) -> None:
    prediction_id = committed.add(reply_channel=CHANNEL)
    start().expect(prediction_id, heard.wake)

    valkey.client_kill_filter(_type="pubsub")
    wait_until(lambda: bool(valkey.pubsub_numsub(CHANNEL)[0][1]))
    _cancel_all(committed, valkey, prediction_id)

    heard.wait_for_event()


def test_the_dispatcher_is_told_what_finished_and_who_is_idle(
    start: StartListener, heard: Heard, committed: Rows, valkey: redis.Redis
) -> None:
    prediction_id = committed.add(reply_channel=CHANNEL)
    start()

    _cancel_all(committed, valkey, prediction_id)
    publish_idle(valkey, ["inference-cpu-0"])

    wait_until(lambda: "inference-cpu-0" in heard.idle)
    assert heard.finished == [str(prediction_id)]


@pytest.mark.usefixtures("seldom")
@pytest.mark.parametrize("channel", [CHANNEL, FINISHED_CHANNEL, IDLE_CHANNEL])
@pytest.mark.parametrize("message", ["no JSON", '[{"id": "1", "new_field": true}]', "7"])
def test_a_message_that_cannot_be_read_deafens_nobody(
    start: StartListener, heard: Heard, committed: Rows, valkey: redis.Redis, channel: str, message: str
) -> None:
    prediction_id = committed.add(reply_channel=CHANNEL)
    start().expect(prediction_id, heard.wake)

    valkey.publish(channel, message)
    _cancel_all(committed, valkey, prediction_id)

    heard.wait_for_event()


def test_a_fault_while_postgres_is_away_ends_no_thread(
    start: StartListener, heard: Heard, committed: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("webapp.replies.HEALTHY_POLL_S", 0.01)
    real, faults = ledger.finished_among, iter([OperationalError("SELECT 1", {}, Exception("away"))])

    def fail_once(connection: object, ids: Sequence[UUID]) -> list[Finished]:
        for fault in faults:
            raise fault
        return real(connection, ids)  # type: ignore[arg-type]

    monkeypatch.setattr(ledger, "finished_among", fail_once)
    prediction_id = committed.add()
    start().expect(prediction_id, heard.wake)
    ledger.cancel(committed.connection, prediction_id)

    heard.wait_for_event()


def _cancel_all(rows: Rows, valkey: redis.Redis, *ids: UUID) -> None:
    """End predictions, in one message to each channel."""
    publish(valkey, [entry for each in ids for entry in ledger.cancel(rows.connection, each)])


def test_the_cache_is_told_what_was_forgotten(start: StartListener, heard: Heard, valkey: redis.Redis) -> None:
    start()

    publish_forgotten(valkey, [(1, 2)])

    wait_until(lambda: heard.forgotten == [(1, 2)])
