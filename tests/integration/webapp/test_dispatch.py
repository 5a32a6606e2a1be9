"""`webapp.dispatch`: group commit, and which worker is rung when."""

import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
import redis
from sqlalchemy import Engine as Database
from sqlalchemy import event, text

from schemas.messages import PredictionFinished, RunPredictions
from schemas.names import QueueName
from stack.embedded import free_port
from store.database import create_database
from store.models import ServedVersion
from store.settings import Settings
from tasks.doorbell import Doorbell
from tests.broker import PREFIX, waiting_messages
from tests.factories import Rows, submission
from tests.running import PATIENCE_S, wait_until
from webapp.balancer import WorkerView
from webapp.dispatch import Dispatcher
from webapp.errors import DatabaseUnavailableError, InvalidInputError
from webapp.learned import LearnedBalancer
from webapp.tickets import Ticket

QUEUE = "inference-cpu-0"

ALL = frozenset({"xor/1", "fashion/1"})


class RecordingDoorbell(Doorbell):
    """Notes what it was told to ring; a broker that takes every message, or none."""

    def __init__(self, *, is_heard: bool = True) -> None:
        self.rings: list[tuple[str, RunPredictions]] = []
        self._is_heard = is_heard

    def ring(self, queue: str, message: RunPredictions) -> bool:
        self.rings.append((queue, message))
        return self._is_heard

    @property
    def ids(self) -> list[list[str]]:
        """The ids of each ring."""
        return [message.prediction_ids for _, message in self.rings]


class FaultyDoorbell(RecordingDoorbell):
    """Fails the first time, in a way that nobody foresaw."""

    def ring(self, queue: str, message: RunPredictions) -> bool:
        super().ring(queue, message)
        if len(self.rings) == 1:
            raise RuntimeError("a fault of ours")
        return True


class Statements:
    """Notes the statements of an engine."""

    def __init__(self, database: Database) -> None:
        self.texts: list[str] = []
        event.listen(database, "before_cursor_execute", self._note)

    def _note(self, _connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        self.texts.append(statement)

    @property
    def submissions(self) -> int:
        """How often a group was written."""
        return sum("submit" in each.lower() and "prepare" not in each.lower() for each in self.texts)


StartDispatcher = Callable[..., Dispatcher]
Ask = Callable[..., Ticket]


@pytest.fixture
def durable(settings: Settings, committed: Rows) -> Iterator[Database]:  # noqa: ARG001 - removes what the test commits
    """The engine of a submitter; what it commits is removed at the end."""
    engine = create_database(settings.database_url, application="submitter", pool_size=2)
    yield engine
    engine.dispose()


@pytest.fixture
def doorbell() -> RecordingDoorbell:
    return RecordingDoorbell()


@pytest.fixture
def silent_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that was rung and says nothing is taken as awake, however long that is."""
    monkeypatch.setattr("webapp.balancer.SILENCE_S", 1e9)


@pytest.fixture
def start(durable: Database, doorbell: RecordingDoorbell) -> Iterator[StartDispatcher]:
    """Start a dispatcher whose live workers consume these queues."""
    started = []

    def start_dispatcher(*queues: str, doorbell: Doorbell = doorbell, database: Database = durable) -> Dispatcher:
        balancer = LearnedBalancer(random.Random(0))
        balancer.update([WorkerView(worker_id=n, queue=queue, held=ALL) for n, queue in enumerate(queues)], 0.0)
        dispatcher = Dispatcher(database, doorbell, balancer)
        dispatcher.start()
        started.append(dispatcher)
        return dispatcher

    yield start_dispatcher
    for dispatcher in started:
        # A process keeps it for its life; here the next test needs it.
        dispatcher._connection.close()


@pytest.fixture
def ask(xor: ServedVersion) -> Ask:
    """Make a ticket of a request that waits for its acceptance."""

    def make_ticket(version: ServedVersion = xor, **changes: Any) -> Ticket:
        return Ticket(submission(version, **changes), version, wait_s=0)

    return make_ticket


def test_an_accepted_request_is_committed(start: StartDispatcher, ask: Ask, committed: Rows) -> None:
    ticket = _send(start(), ask())

    row = committed.get(ticket.submission.id)
    assert (row.status, row.created_at) == ("queued", ticket.accepted_at)


def test_a_repeat_is_told_apart(start: StartDispatcher, ask: Ask) -> None:
    dispatcher = start()
    keyed = {"idempotency_key": "k", "request_sha256": "aa"}

    first, second = (_send(dispatcher, ask(**keyed)) for _ in range(2))

    assert (first.repeated, second.repeated) == (False, True)


def test_requests_that_come_together_share_one_statement(
    start: StartDispatcher, ask: Ask, durable: Database, database: Database
) -> None:
    statements = Statements(durable)
    dispatcher = start()
    tickets = [ask() for _ in range(50)]

    with ThreadPoolExecutor(len(tickets)) as pool:
        with _held_back(database):
            handed_in = [pool.submit(dispatcher.submit, [ticket]) for ticket in tickets]
            # The first comer is held back with its own; the others have handed theirs in and may wait.
            wait_until(lambda: sum(each.done() for each in handed_in) == len(tickets) - 1)
        for ticket in tickets:
            ticket.wait(PATIENCE_S)

    assert all(ticket.accepted_at for ticket in tickets)
    assert 1 <= statements.submissions <= 2


def test_requests_of_many_threads_are_all_accepted(start: StartDispatcher, ask: Ask, durable: Database) -> None:
    statements = Statements(durable)
    dispatcher = start()

    with ThreadPoolExecutor(16) as pool:
        tickets = list(pool.map(lambda _: _send(dispatcher, ask()), range(200)))

    assert all(ticket.accepted_at for ticket in tickets)
    assert statements.submissions < 200


@pytest.mark.parametrize("bad", ["\0", ["a\0b"]])
def test_only_the_request_whose_data_is_at_fault_is_refused(start: StartDispatcher, ask: Ask, bad: object) -> None:
    dispatcher = start()
    first, faulty, last = tickets = [ask(), ask(input=bad), ask()]

    dispatcher.submit(tickets)
    first.wait(PATIENCE_S)
    last.wait(PATIENCE_S)

    with pytest.raises(InvalidInputError, match="cannot hold"):
        faulty.wait(PATIENCE_S)


def test_a_group_that_meets_a_fault_of_ours_is_refused_and_the_next_accepted(start: StartDispatcher, ask: Ask) -> None:
    dispatcher = start()

    with pytest.raises(DatabaseUnavailableError, match="could not be stored"):
        _send(dispatcher, ask(input=object()))

    assert _send(dispatcher, ask()).accepted_at


def test_without_postgres_a_request_is_refused(start: StartDispatcher, ask: Ask) -> None:
    away = create_database(f"postgresql+psycopg2://nobody@127.0.0.1:{free_port()}/none", application="tests")
    dispatcher = start(database=away)

    with pytest.raises(DatabaseUnavailableError, match="nothing was accepted"):
        _send(dispatcher, ask())


def test_a_request_is_accepted_after_postgres_came_back(
    start: StartDispatcher, ask: Ask, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("store.database.PING_AFTER_S", 0.0)
    dispatcher = start()
    _send(dispatcher, ask())
    with database.connect() as connection:
        connection.execute(
            text("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = 'submitter'")
        )

    assert _send(dispatcher, ask()).accepted_at


def test_a_request_that_was_refused_while_it_waited_is_not_stored(
    start: StartDispatcher, ask: Ask, committed: Rows
) -> None:
    dispatcher, late = start(), ask()
    late.refuse(DatabaseUnavailableError("the database hangs"))

    dispatcher.submit([late, prompt := ask()])
    prompt.wait(PATIENCE_S)

    stored = committed.connection.execute(text("SELECT id FROM predictions")).scalars().all()
    assert stored == [prompt.submission.id]


def test_a_worker_is_rung_for_a_row(start: StartDispatcher, ask: Ask, doorbell: RecordingDoorbell) -> None:
    ticket = _send(start(QUEUE), ask())

    wait_until(lambda: bool(doorbell.rings))
    expected = RunPredictions(model="xor", version=1, prediction_ids=[str(ticket.submission.id)])
    assert doorbell.rings == [(QUEUE, expected)]


def test_without_a_live_worker_the_shared_queue_is_rung(
    start: StartDispatcher, ask: Ask, doorbell: RecordingDoorbell
) -> None:
    _send(start(), ask())

    wait_until(lambda: bool(doorbell.rings))
    assert doorbell.rings[0][0] == QueueName.INFERENCE


@pytest.mark.usefixtures("silent_for_ever")
def test_a_worker_that_is_awake_is_not_rung_for_another_version(
    start: StartDispatcher, ask: Ask, doorbell: RecordingDoorbell, fashion: ServedVersion
) -> None:
    dispatcher = start(QUEUE)
    _first, _photo, _other = [_send(dispatcher, ticket) for ticket in (ask(), ask(fashion), ask())]

    dispatcher.hear_idle([QUEUE])
    _settle(dispatcher, ask)

    assert [message.model for _, message in doorbell.rings] == ["xor", "xor"]


@pytest.mark.usefixtures("silent_for_ever")
def test_a_worker_is_rung_once_until_it_says_that_it_is_idle(
    start: StartDispatcher, ask: Ask, doorbell: RecordingDoorbell
) -> None:
    dispatcher = start(QUEUE)
    first, *_rest = [_send(dispatcher, ask()) for _ in range(5)]
    _settle(dispatcher, ask)

    assert doorbell.ids == [[str(first.submission.id)]]


@pytest.mark.usefixtures("silent_for_ever")
def test_an_idle_worker_is_rung_for_the_rows_committed_since(
    start: StartDispatcher, ask: Ask, doorbell: RecordingDoorbell
) -> None:
    dispatcher = start(QUEUE)
    _first, *rest = [_send(dispatcher, ask()) for _ in range(4)]

    dispatcher.hear_idle([QUEUE])

    wait_until(lambda: len(doorbell.rings) == 2)
    assert doorbell.ids[1] == [str(ticket.submission.id) for ticket in rest]


@pytest.mark.usefixtures("silent_for_ever")
def test_an_idle_worker_is_not_rung_for_rows_that_are_finished(
    start: StartDispatcher, ask: Ask, doorbell: RecordingDoorbell
) -> None:
    dispatcher = start(QUEUE)
    _first, second, third = [_send(dispatcher, ask()) for _ in range(3)]

    dispatcher.hear_finished([_finished(second)])
    dispatcher.hear_idle([QUEUE])

    wait_until(lambda: len(doorbell.rings) == 2)
    assert doorbell.ids[1] == [str(third.submission.id)]


@pytest.mark.usefixtures("silent_for_ever")
def test_the_silence_of_another_worker_changes_nothing(
    start: StartDispatcher, ask: Ask, doorbell: RecordingDoorbell
) -> None:
    dispatcher = start(QUEUE)
    for _ in range(2):
        _send(dispatcher, ask())

    dispatcher.hear_idle(["inference-cpu-7"])
    _settle(dispatcher, ask)

    assert len(doorbell.rings) == 1


def test_a_worker_that_stays_silent_is_rung_again(
    start: StartDispatcher, ask: Ask, doorbell: RecordingDoorbell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("webapp.balancer.SILENCE_S", 0.2)
    dispatcher = start(QUEUE)

    for _ in range(2):
        _send(dispatcher, ask())

    wait_until(lambda: len(doorbell.rings) == 2)


@pytest.mark.usefixtures("silent_for_ever")
def test_a_second_worker_is_rung_while_the_first_is_awake(
    start: StartDispatcher, ask: Ask, doorbell: RecordingDoorbell
) -> None:
    dispatcher = start(QUEUE, "inference-cpu-1")

    for _ in range(2):
        _send(dispatcher, ask())

    wait_until(lambda: len(doorbell.rings) == 2)
    assert {queue for queue, _ in doorbell.rings} == {QUEUE, "inference-cpu-1"}


def test_a_broker_that_is_away_refuses_no_request(start: StartDispatcher, ask: Ask) -> None:
    dispatcher = start(QUEUE, doorbell=RecordingDoorbell(is_heard=False))

    assert all(_send(dispatcher, ask()).accepted_at for _ in range(3))


def test_rows_that_a_broker_did_not_hear_of_are_rung_for_again(start: StartDispatcher, ask: Ask) -> None:
    deaf = RecordingDoorbell(is_heard=False)
    ticket = _send(start(QUEUE, doorbell=deaf), ask())

    wait_until(lambda: len(deaf.rings) >= 2)
    assert deaf.ids[:2] == [[str(ticket.submission.id)]] * 2


def test_a_fault_in_ringing_refuses_nothing_that_was_accepted(start: StartDispatcher, ask: Ask) -> None:
    doorbell = FaultyDoorbell()
    dispatcher = start(QUEUE, doorbell=doorbell)
    ticket = _send(dispatcher, ask())

    _send(dispatcher, ask())

    assert doorbell.rings
    assert ticket.error is None


@pytest.mark.parametrize("kind", ["real", "recording"])
def test_a_doorbell_that_is_heard_says_so(kind: str, redis_url: str, valkey: redis.Redis) -> None:
    doorbell = Doorbell(redis_url) if kind == "real" else RecordingDoorbell()

    assert doorbell.ring("inference-contract", RunPredictions(model="xor", version=1, prediction_ids=[])) is True
    valkey.delete(f"{PREFIX}inference-contract")


def test_the_real_broker_gets_the_ids_of_the_rows(
    start: StartDispatcher, ask: Ask, redis_url: str, valkey: redis.Redis
) -> None:
    ticket = _send(start("inference-real", doorbell=Doorbell(redis_url)), ask())

    wait_until(lambda: bool(waiting_messages(valkey, "inference-real")))
    [(_, message)] = waiting_messages(valkey, "inference-real")
    assert message["prediction_ids"] == [str(ticket.submission.id)]
    valkey.delete(f"{PREFIX}inference-real")


def _send(dispatcher: Dispatcher, ticket: Ticket) -> Ticket:
    """Submit a ticket and wait until it is settled."""
    dispatcher.submit([ticket])
    ticket.wait(PATIENCE_S)
    return ticket


def _finished(ticket: Ticket) -> PredictionFinished:
    now = "2026-11-20T12:00:00+00:00"
    return PredictionFinished(
        id=str(ticket.submission.id),
        status="succeeded",
        attempt=1,
        result={},
        error_code=None,
        error_detail=None,
        created_at=now,
        started_at=now,
        finished_at=now,
        decode_ms=1.0,
        compute_ms=1.0,
        device="cpu:0",
        worker_id=7,
    )


def _settle(dispatcher: Dispatcher, ask: Ask) -> None:
    """Wait until the submitter has rung for all that came before: it takes one group after the other."""
    _send(dispatcher, ask())


@contextmanager
def _held_back(database: Database) -> Iterator[None]:
    """Let no row be inserted while the block runs, so that requests gather."""
    with database.begin() as connection:
        connection.execute(text("LOCK TABLE predictions IN SHARE MODE"))
        yield
