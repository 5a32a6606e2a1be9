"""`tasks.pump` against real endpoints that behave as badly as they can, with the schedule's hours made milliseconds."""

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from uuid import UUID

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from schemas.enums import WorkerRole
from store.database import create_database
from store.delivery_ledger import BreakerRule
from store.outward import OutwardClient
from store.settings import Settings
from store.webhooks import get_endpoint, rotate_secret
from tasks.delivery_rules import PAUSES_S, Schedule
from tasks.life import WorkerLife
from tasks.pump import Pump
from tasks.sender import Sender
from tests.factories import Rows
from tests.running import wait_until
from tests.sinks import Behave, Sink, answer, drip, flood, hang, reset, running_sink, say
from tests.webhooks import BOX, Hooks

# An hour in three milliseconds: ten attempts take a quarter of a second.
SCALE = 1e-6
FAST = Schedule(pauses_s=tuple(pause * SCALE for pause in PAUSES_S))
PATIENT = BreakerRule(failures=1000)

TIMEOUT_S = 0.5

RunPump = Callable[..., AbstractContextManager[Pump]]


@pytest.fixture
def sink() -> Iterator[Sink]:
    with running_sink() as running:
        yield running


@pytest.fixture
def hooks(committed: Rows) -> Hooks:
    return Hooks(committed.connection)


@pytest.fixture
def pumping(settings: Settings, sink: Sink) -> Iterator[RunPump]:
    """Run a pump while a block runs."""
    database = create_database(settings.database_url, application="pump", pool_size=3)
    outward = OutwardClient(sink.rules)

    @contextmanager
    def run(schedule: Schedule = FAST, breaker: BreakerRule = PATIENT) -> Iterator[Pump]:
        life = WorkerLife(
            database, name="delivery@tests", role=WorkerRole.DELIVERY, device="cpu:0", queue="", held=list
        )
        pump = Pump(
            database, Sender(outward, BOX, schedule, timeout_s=TIMEOUT_S).send, life, breaker=breaker, senders=16
        )
        life.begin()
        thread = threading.Thread(target=pump.run, name="pump")
        thread.start()
        try:
            yield pump
        finally:
            pump.stop()
            thread.join()
            life.end()

    yield run
    outward.close()
    database.dispose()


def ended(hooks: Hooks, *deliveries: UUID) -> Callable[[], bool]:
    return lambda: all(hooks.get(each).state in ("delivered", "dead") for each in deliveries)


def send_one(hooks: Hooks, sink: Sink, pumping: RunPump, *behaviours: Behave) -> UUID:
    """Have one delivery sent to an endpoint that behaves so, until it ended."""
    [delivery] = hooks.write(hooks.add(url=sink.when("/hook", *behaviours)), "a")
    with pumping():
        wait_until(ended(hooks, delivery))
    return delivery


def test_a_delivery_arrives_signed(hooks: Hooks, sink: Sink, pumping: RunPump) -> None:
    endpoint = hooks.add(url=sink.when("/hook", answer(204)))
    [delivery] = hooks.write(endpoint, "a")

    with pumping():
        wait_until(ended(hooks, delivery))

    [received] = sink.at("/hook")
    assert received.verify(hooks.secrets[endpoint]) == {"type": "prediction.succeeded"}
    assert (received.id, received.headers["content-type"]) == (str(delivery), "application/json")
    assert hooks.get(delivery).state == "delivered"


def test_an_endpoint_that_recovers_gets_it_under_the_same_id(hooks: Hooks, sink: Sink, pumping: RunPump) -> None:
    delivery = send_one(hooks, sink, pumping, answer(500), reset, answer(404), answer(200))

    assert hooks.get(delivery).state == "delivered"
    assert [attempt.status_code for attempt in hooks.attempts(delivery)] == [500, None, 404, 200]
    assert {received.id for received in sink.at("/hook")} == {str(delivery)}


@pytest.mark.parametrize(
    ("behave", "status", "error"),
    [
        (answer(500), 500, "it answered 500"),
        (answer(302, Location="http://127.0.0.1/elsewhere"), 302, "redirects are not followed"),
        (reset, None, "could not be reached, or broke off"),
    ],
)
def test_an_endpoint_that_never_takes_it_is_tried_ten_times(
    hooks: Hooks, sink: Sink, pumping: RunPump, behave: Behave, status: int | None, error: str
) -> None:
    delivery = send_one(hooks, sink, pumping, behave)

    attempts = hooks.attempts(delivery)
    assert (hooks.get(delivery).state, len(attempts), len(sink.at("/hook"))) == ("dead", 10, 10)
    assert {attempt.status_code for attempt in attempts} == {status}
    assert error in attempts[-1].error


def test_a_redirect_leads_nowhere(hooks: Hooks, sink: Sink, pumping: RunPump) -> None:
    send_one(hooks, sink, pumping, answer(307, Location=f"{sink.url}/other"), answer(200))

    assert sink.at("/other") == []


def test_of_a_gigabyte_a_kibibyte_is_kept(hooks: Hooks, sink: Sink, pumping: RunPump) -> None:
    delivery = send_one(hooks, sink, pumping, flood)

    [attempt] = hooks.attempts(delivery)
    assert (hooks.get(delivery).state, len(attempt.response)) == ("delivered", 1024)


def test_an_answer_that_no_text_column_takes_is_kept(hooks: Hooks, sink: Sink, pumping: RunPump) -> None:
    delivery = send_one(hooks, sink, pumping, say(200, b"a\0b\xff"))

    assert hooks.attempts(delivery)[0].response == "a\N{REPLACEMENT CHARACTER}b\N{REPLACEMENT CHARACTER}"


def test_an_endpoint_that_is_gone_is_paused_and_asked_no_more(hooks: Hooks, sink: Sink, pumping: RunPump) -> None:
    endpoint = hooks.add(url=sink.when("/hook", answer(410)))
    [first] = hooks.write(endpoint, "a")

    with pumping():
        wait_until(ended(hooks, first))
        [second] = hooks.write(endpoint, "b")
        [other] = hooks.write(hooks.add(url=sink.when("/other", answer(204))), "c")
        wait_until(ended(hooks, other))

    assert (hooks.endpoint(endpoint).state, hooks.get(second).state) == ("paused", "pending")
    assert len(sink.at("/hook")) == 1


def test_a_busy_endpoint_is_left_alone_for_as_long_as_it_says(hooks: Hooks, sink: Sink, pumping: RunPump) -> None:
    endpoint = hooks.add(url=sink.when("/hook", answer(429, Retry_After="3600"), answer(204)))
    deliveries = hooks.write(endpoint, "a")

    with pumping():
        wait_until(lambda: hooks.endpoint(endpoint).failures == 1)
        deliveries += hooks.write(endpoint, "b")
        [other] = hooks.write(hooks.add(url=sink.when("/other", answer(204))), "c")
        wait_until(ended(hooks, other))
        assert len(sink.at("/hook")) == 1
        # An hour later.
        hooks.set(endpoint, resting_until="now()")
        hooks.connection.execute(text("UPDATE webhook_deliveries SET next_attempt_at = now() WHERE state = 'pending'"))
        wait_until(ended(hooks, *deliveries))

    assert [received.id for received in sink.at("/hook")].count(str(deliveries[0])) == 2


@pytest.mark.parametrize("make", [hang, lambda _released: drip])
def test_endpoints_that_keep_us_waiting_keep_nobody_else_waiting(
    hooks: Hooks, sink: Sink, pumping: RunPump, make: Callable[[threading.Event], Behave]
) -> None:
    released = threading.Event()
    slow = []
    for index in range(12):
        slow += hooks.write(hooks.add(url=sink.when(f"/slow-{index}", make(released))), *map(str, range(3)))
    swift_at = hooks.add(url=sink.when("/swift", answer(204)))

    # On a busy machine an attempt at the swift one may run out of time too; it is tried again soon.
    with pumping(schedule=Schedule(pauses_s=(0.0, 1.0, 1.0, 1.0, 60.0))):
        wait_until(lambda: any(hooks.attempts(each) for each in slow))
        swift = hooks.write(swift_at, *map(str, range(20)))
        wait_until(ended(hooks, *swift))
        stuck = [hooks.get(each).state for each in slow]

    released.set()
    assert {hooks.get(each).state for each in swift} == {"delivered"}
    assert "delivered" not in stuck


def test_the_breaker_leaves_an_endpoint_alone_that_fails_again_and_again(
    hooks: Hooks, sink: Sink, pumping: RunPump
) -> None:
    endpoint = hooks.add(url=sink.when("/hook", answer(500)))
    hooks.write(endpoint, *map(str, range(30)))

    with pumping(breaker=BreakerRule(failures=5, first_s=3600.0, longest_s=3600.0)):
        wait_until(lambda: hooks.endpoint(endpoint).resting_until is not None)
        [other] = hooks.write(hooks.add(url=sink.when("/other", answer(204))), "c")
        wait_until(ended(hooks, other))

    # Those that were under way at once when the first one failed count as well.
    assert 5 <= len(sink.at("/hook")) <= 8


def test_a_rotation_refuses_no_delivery(hooks: Hooks, sink: Sink, pumping: RunPump, database: Engine) -> None:
    endpoint = hooks.add(url=sink.when("/hook", answer(204)))
    old = hooks.secrets[endpoint]
    with Session(database) as session, session.begin():
        new = rotate_secret(session, BOX, get_endpoint(session, endpoint, api_key_id=None))
    [delivery] = hooks.write(endpoint, "a")

    with pumping():
        wait_until(ended(hooks, delivery))

    [received] = sink.at("/hook")
    assert received.verify(old) == received.verify(new) == {"type": "prediction.succeeded"}


def test_a_name_that_leads_into_our_network_is_not_asked(hooks: Hooks, sink: Sink, pumping: RunPump) -> None:
    url = sink.when("/hook", answer(204)).replace("127.0.0.1", "[::1]")
    [delivery] = hooks.write(hooks.add(url=url), "a")

    with pumping():
        wait_until(ended(hooks, delivery))

    assert hooks.get(delivery).state == "dead"
    assert "no address of the public internet" in hooks.attempts(delivery)[0].error
    assert sink.at("/hook") == []


def test_what_is_being_sent_when_the_pump_stops_is_recorded(hooks: Hooks, sink: Sink, pumping: RunPump) -> None:
    released = threading.Event()
    [delivery] = hooks.write(hooks.add(url=sink.when("/hook", hang(released))), "a")

    with pumping(schedule=Schedule(pauses_s=(0.0, 60.0))):
        wait_until(lambda: len(sink.at("/hook")) == 1)

    released.set()
    row = hooks.get(delivery)
    assert (row.state, row.failures) == ("pending", 1)
