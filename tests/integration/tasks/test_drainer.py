"""`tasks.drainer`: from queued rows to committed answers, with a real network on real rows."""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from uuid import UUID

import pytest
import redis
from sqlalchemy import Connection, text
from sqlalchemy import Engine as Database

from ml.engine import Decoded, Engine, Key, Outcome
from ml.errors import DeviceLostError, NotReachedError
from ml.predictor import Payload
from schemas.names import IDLE_CHANNEL
from store import ledger
from store.database import create_database, open_session
from store.models import ServedVersion
from store.objects import ObjectStore
from store.settings import Settings
from tasks.drainer import Drainer
from tasks.intake import CLAIM_LIMIT
from tasks.life import WorkerLife
from tasks.watchdog import EXIT_UNUSABLE
from tests.broker import listening
from tests.factories import Rows, add_model, break_store, picture
from tests.integration.tasks.conftest import DEVICE, QUEUE, MakeDrainer, make_life
from tests.outage import cut_off
from tests.running import SAMPLES, wait_until

TABLE = {(0.0, 0.0): "0", (0.0, 1.0): "1", (1.0, 0.0): "1", (1.0, 1.0): "0"}


class InterruptedEngine(Engine):
    """The real engine, with something happening while it computes its first batch."""

    def __init__(self, interrupt: Callable[[], object]) -> None:
        super().__init__(DEVICE)
        self._interrupts: Iterator[Callable[[], object]] = iter([interrupt])

    def compute(self, key: Key, decoded: Sequence[Decoded]) -> list[Outcome]:
        for interrupt in self._interrupts:
            interrupt()
        return super().compute(key, decoded)


class DawdlingEngine(Engine):
    """The real engine, whose decoding takes its time from some moment on."""

    seconds = 0.0

    def decode(self, key: Key, payloads: Sequence[Payload]) -> list[Decoded]:
        time.sleep(self.seconds)
        return super().decode(key, payloads)


class UndecodingEngine(Engine):
    """The real engine, with a fault of ours in its decoding."""

    def decode(self, key: Key, payloads: Sequence[Payload]) -> list[Decoded]:
        raise ZeroDivisionError(f"{len(payloads)} of {key}")


class OverburdenedEngine(Engine):
    """The real engine, on a machine where there is time for the first item of each batch alone."""

    def __init__(self) -> None:
        super().__init__(DEVICE)
        self.begun: list[int] = []

    def decode(self, key: Key, payloads: Sequence[Payload]) -> list[Decoded]:
        self.begun.append(len(payloads))
        return [*super().decode(key, payloads[:1]), *[NotReachedError("no time")] * (len(payloads) - 1)]


@pytest.fixture(params=["one after the other", "pipelined"], autouse=True)
def _pace(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways to run batches: small networks one after the other, large ones with the next prepared meanwhile."""
    monkeypatch.setattr("tasks.drainer.PIPELINE_ABOVE_MS", -1.0 if request.param == "pipelined" else 1e9)


@pytest.fixture
def photo(committed: Rows, fashion: ServedVersion) -> Rows:
    """Rows of the model that takes pictures."""
    return Rows(committed.connection, fashion)


@pytest.fixture
def broken_store(tmp_path: Path) -> ObjectStore:
    """An object store whose disk is gone."""
    objects = ObjectStore(f"file://{tmp_path / 'objects'}")
    break_store(tmp_path / "objects")
    return objects


def test_everything_that_waits_is_answered(drainer: Drainer, committed: Rows) -> None:
    asked = {committed.add(input=list(numbers)): label for numbers, label in TABLE.items()}

    assert drainer.drain() is False

    assert {each: committed.get(each).result["label"] for each in asked} == asked


def test_an_answer_says_where_it_was_computed_and_how_long_it_took(drainer: Drainer, committed: Rows) -> None:
    prediction_id = committed.add()

    drainer.drain()

    row = committed.get(prediction_id)
    assert (row.status, row.device) == ("succeeded", DEVICE)
    assert row.decode_ms >= 0
    assert row.compute_ms > 0


def test_more_rows_than_a_batch_are_answered(drainer: Drainer, committed: Rows) -> None:
    ids = committed.add_many(600)

    drainer.drain()

    assert set(committed.statuses(ids)) == {"succeeded"}


def test_nothing_waiting_is_nothing_done(drainer: Drainer) -> None:
    assert drainer.drain() is False


def test_a_stored_photo_is_answered(drainer: Drainer, photo: Rows, objects: ObjectStore) -> None:
    prediction_id = photo.add(input=None, input_sha256=objects.put((SAMPLES / "sandal-01.png").read_bytes()))

    drainer.drain()

    assert photo.get(prediction_id).result["label"] == "Sandal"


def test_rows_of_several_models_are_answered(
    drainer: Drainer, committed: Rows, photo: Rows, objects: ObjectStore
) -> None:
    ids = [committed.add(), photo.add(input=None, input_sha256=objects.put(picture())), committed.add()]

    drainer.drain()

    assert committed.statuses(ids) == ["succeeded"] * 3


@pytest.mark.parametrize("bad", ["nonsense", [1, 2, 3], [1, None], {"a": 1}, [1e39, 0]])
def test_one_bad_input_of_many_fails_alone(drainer: Drainer, committed: Rows, bad: object) -> None:
    before, broken, after = committed.add(), committed.add(input=bad), committed.add()

    drainer.drain()

    assert committed.statuses([before, broken, after]) == ["succeeded", "failed", "succeeded"]
    assert committed.get(broken).error_code == "invalid_input"


def test_a_damaged_photo_fails_alone(drainer: Drainer, photo: Rows, objects: ObjectStore) -> None:
    good, bad = (photo.add(input=None, input_sha256=objects.put(data)) for data in (picture(), picture()[:200]))

    drainer.drain()

    assert photo.statuses([good, bad]) == ["succeeded", "failed"]
    assert photo.get(bad).error_code == "invalid_input"


def test_a_stored_input_that_is_gone_fails_alone(drainer: Drainer, photo: Rows, objects: ObjectStore) -> None:
    good, gone = (photo.add(input=None, input_sha256=digest) for digest in (objects.put(picture()), "ab" * 32))

    drainer.drain()

    assert photo.statuses([good, gone]) == ["succeeded", "failed"]
    assert photo.get(gone).error_code == "input_missing"


def test_a_batch_whose_inputs_are_all_gone_fails(drainer: Drainer, photo: Rows) -> None:
    ids = photo.add_many(2, input=None, input_sha256="ab" * 32)

    drainer.drain()

    assert photo.statuses(ids) == ["failed", "failed"]


def test_numbers_for_a_model_that_takes_pictures_fail_beside_a_picture(
    drainer: Drainer, photo: Rows, objects: ObjectStore
) -> None:
    good, bad = photo.add(input=None, input_sha256=objects.put(picture())), photo.add(input=[0, 1])

    drainer.drain()

    assert photo.statuses([good, bad]) == ["succeeded", "failed"]


def test_rows_that_meet_a_fault_while_they_are_decoded_wait_and_do_not_hang(
    make_drainer: MakeDrainer, committed: Rows
) -> None:
    ids = committed.add_many(2)

    with pytest.raises(ZeroDivisionError):
        make_drainer(engine=UndecodingEngine(DEVICE)).drain()

    assert committed.statuses(ids) == ["queued", "queued"]


def test_rows_for_which_there_was_no_time_are_claimed_again_and_lose_no_attempt(
    make_drainer: MakeDrainer, committed: Rows
) -> None:
    ids, engine = committed.add_many(3), OverburdenedEngine()

    make_drainer(engine=engine).drain()

    assert [(committed.get(each).status, committed.get(each).attempt) for each in ids] == [("succeeded", 1)] * 3
    assert engine.begun == [3, 2, 1]


def test_rows_wait_while_the_object_store_is_away(
    make_drainer: MakeDrainer, broken_store: ObjectStore, photo: Rows
) -> None:
    prediction_id = photo.add(input=None, input_sha256="ab" * 32)

    make_drainer(objects=broken_store).drain()

    row = photo.get(prediction_id)
    assert (row.status, row.attempt, row.run_after > row.created_at) == ("queued", 1, True)


def test_rows_fail_when_the_object_store_stays_away(
    make_drainer: MakeDrainer, broken_store: ObjectStore, photo: Rows
) -> None:
    prediction_id = photo.add(input=None, input_sha256="ab" * 32)
    drainer = make_drainer(objects=broken_store)

    for _ in range(ledger.MAX_ATTEMPTS):
        photo.shift(prediction_id, "run_after", 0)
        drainer.drain()

    assert photo.get(prediction_id).error_code == "attempts_exhausted"


def test_a_version_whose_weights_are_gone_fails_its_rows_alone(
    drainer: Drainer, committed: Rows, database: Database
) -> None:
    with open_session(database) as session:
        broken = Rows(committed.connection, add_model(session, "broken"))
    ids = [broken.add(), committed.add()]

    drainer.drain()

    assert committed.statuses(ids) == ["failed", "succeeded"]
    row = committed.get(ids[0])
    assert row.error_code == "model_unavailable"
    assert "broken version 1 cannot be loaded" in row.error_detail


def test_a_drain_ends_at_its_bound_and_says_that_rows_may_be_left(
    drainer: Drainer, committed: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.drainer.DRAIN_BOUND_S", 0.0)
    first, rest = committed.add_many(CLAIM_LIMIT), committed.add_many(44)

    assert drainer.drain() is True

    assert set(committed.statuses(first)) == {"succeeded"}
    assert [(committed.get(each).status, committed.get(each).attempt) for each in rest] == [("queued", 0)] * 44


def test_a_worker_that_stops_finishes_its_batch_and_gives_the_rest_back(
    make_drainer: MakeDrainer, committed: Rows
) -> None:
    first, rest = committed.add_many(CLAIM_LIMIT), committed.add_many(44)
    drainer = make_drainer(engine=InterruptedEngine(lambda: drainer.stop()))  # noqa: PLW0108 - it is not made yet

    assert drainer.drain() is False

    assert set(committed.statuses(first)) == {"succeeded"}
    assert [(committed.get(each).status, committed.get(each).attempt) for each in rest] == [("queued", 0)] * 44


def test_a_row_whose_deadline_is_over_before_its_launch_never_reaches_the_device(
    make_drainer: MakeDrainer, committed: Rows
) -> None:
    drainer = _dawdling(make_drainer, committed)
    late, patient = committed.add(deadline_ms=1000), committed.add()

    drainer.drain()

    assert committed.statuses([late, patient]) == ["expired", "succeeded"]
    assert (committed.get(late).started_at is None, committed.get(late).attempt) == (False, 0)


def test_a_batch_that_is_late_as_a_whole_expires(make_drainer: MakeDrainer, committed: Rows) -> None:
    drainer = _dawdling(make_drainer, committed)
    late = committed.add_many(3, deadline_ms=1000)

    drainer.drain()

    assert committed.statuses(late) == ["expired"] * 3


def test_a_worker_that_was_stopped_claims_no_more(drainer: Drainer, committed: Rows) -> None:
    prediction_id = committed.add()
    drainer.stop()

    drainer.drain()

    assert committed.status(prediction_id) == "queued"


def test_a_worker_whose_lease_does_not_hold_claims_nothing(
    make_drainer: MakeDrainer, committed: Rows, database: Database
) -> None:
    prediction_id = committed.add()

    make_drainer(life=make_life(database)).drain()

    assert committed.status(prediction_id) == "queued"


def test_the_result_of_a_row_that_was_cancelled_meanwhile_is_dropped(
    make_drainer: MakeDrainer, committed: Rows
) -> None:
    canceled, other = committed.add_many(2)
    drainer = make_drainer(engine=InterruptedEngine(lambda: ledger.cancel(committed.connection, canceled)))

    drainer.drain()

    assert committed.statuses([canceled, other]) == ["canceled", "succeeded"]


def test_the_result_of_a_row_that_another_worker_took_over_is_dropped(
    make_drainer: MakeDrainer, committed: Rows
) -> None:
    prediction_id = committed.add()
    interrupted = InterruptedEngine(lambda: _take_over(committed))

    make_drainer(engine=interrupted).drain()

    row = committed.get(prediction_id)
    assert (row.status, row.attempt, row.result) == ("processing", 2, None)


def test_no_result_outlives_its_drain(make_drainer: MakeDrainer, committed: Rows, database: Database) -> None:
    prediction_id = committed.add()
    with database.begin() as other, ThreadPoolExecutor(1) as pool:
        drainer = make_drainer(engine=InterruptedEngine(lambda: _lock(other, prediction_id)))
        draining = pool.submit(drainer.drain)
        wait_until(lambda: _somebody_waits_for_a_row(committed))

        assert not draining.done()
        other.rollback()

    assert committed.status(prediction_id) == "succeeded"


def test_results_wait_while_postgres_is_away(
    make_drainer: MakeDrainer, committed: Rows, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.completion.RETRY_S", 0.0)
    results = create_database(settings.database_url, application="results", pool_size=1)
    results.connect().close()
    prediction_id = committed.add()

    make_drainer(engine=InterruptedEngine(lambda: _cut_off(committed)), results_database=results).drain()

    assert committed.status(prediction_id) == "succeeded"
    results.dispose()


def test_rows_of_a_batch_that_fails_whole_wait_and_do_not_hang(make_drainer: MakeDrainer, committed: Rows) -> None:
    ids = committed.add_many(CLAIM_LIMIT + 1)

    with pytest.raises(ZeroDivisionError):
        make_drainer(engine=InterruptedEngine(lambda: 1 / 0)).drain()

    assert set(committed.statuses(ids)) == {"queued"}


def test_a_worker_whose_device_is_lost_gives_everything_back_and_ends(
    make_drainer: MakeDrainer, committed: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os._exit", _exit)
    ids = committed.add_many(CLAIM_LIMIT + 1)

    with pytest.raises(SystemExit, match=str(EXIT_UNUSABLE)):
        make_drainer(engine=InterruptedEngine(_lose_device)).drain()

    assert [(committed.get(each).status, committed.get(each).attempt) for each in ids] == [("queued", 0)] * len(ids)


def test_a_worker_without_memory_gives_everything_back_and_ends(
    make_drainer: MakeDrainer, committed: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os._exit", _exit)
    ids = committed.add_many(CLAIM_LIMIT + 1)

    with pytest.raises(SystemExit, match=str(EXIT_UNUSABLE)):
        make_drainer(engine=InterruptedEngine(_run_out_of_memory)).drain()

    assert [(committed.get(each).status, committed.get(each).attempt) for each in ids] == [("queued", 0)] * len(ids)
    reason = text("SELECT stop_reason FROM workers ORDER BY id DESC LIMIT 1")
    assert committed.connection.execute(reason).scalar_one() == "out_of_memory"


def test_nothing_is_launched_under_a_lease_that_is_in_doubt(
    make_drainer: MakeDrainer, committed: Rows, life: WorkerLife, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, rest = committed.add_many(CLAIM_LIMIT), committed.add_many(44)
    # For good: a heartbeat would renew it within a moment.
    falls_silent = partial(monkeypatch.setattr, life, "is_valid", lambda: False)

    make_drainer(engine=InterruptedEngine(falls_silent)).drain()

    assert set(committed.statuses(first)) == {"succeeded"}
    assert [(committed.get(each).status, committed.get(each).attempt) for each in rest] == [("queued", 0)] * 44


def test_a_worker_whose_results_wait_claims_nothing_more(
    make_drainer: MakeDrainer, committed: Rows, settings: Settings
) -> None:
    results = create_database(settings.database_url, application="results", pool_size=1)
    first = committed.add()
    with ExitStack() as away:
        drainer = make_drainer(
            engine=InterruptedEngine(lambda: away.enter_context(cut_off(results, committed.connection, "results"))),
            results_database=results,
        )
        drainer.drain()
        prediction_id = committed.add()

        drainer.drain()

        assert committed.statuses([first, prediction_id]) == ["processing", "queued"]
    wait_until(lambda: committed.status(first) == "succeeded")

    def is_drained() -> bool:
        drainer.drain()
        return committed.status(prediction_id) == "succeeded"

    # A worker hears of its commit a moment after others see it, and claims nothing until then.
    wait_until(is_drained)
    results.dispose()


def test_the_process_that_waits_is_told(drainer: Drainer, committed: Rows, valkey: redis.Redis) -> None:
    prediction_id = committed.add(reply_channel="web-1")

    with listening(valkey, "web-1") as hear:
        drainer.drain()
        [(_, [event])] = hear(1)

    assert (event["id"], event["status"]) == (str(prediction_id), "succeeded")


def test_a_worker_that_finds_nothing_left_says_so(drainer: Drainer, valkey: redis.Redis) -> None:
    with listening(valkey, IDLE_CHANNEL) as hear:
        drainer.drain()
        assert hear(1) == [(IDLE_CHANNEL, [QUEUE])]


def _dawdling(make_drainer: MakeDrainer, rows: Rows) -> Drainer:
    """Make a drainer that has the model, and whose decoding takes longer than a second from now on."""
    engine = DawdlingEngine(DEVICE)
    drainer = make_drainer(engine=engine)
    rows.add()
    drainer.drain()
    engine.seconds = 1.2
    return drainer


def _exit(status: int) -> None:
    raise SystemExit(status)


def _lose_device() -> None:
    raise DeviceLostError("the context is broken")


def _run_out_of_memory() -> None:
    raise MemoryError


def _take_over(rows: Rows) -> None:
    """Another worker takes up all that is held, as after a lease that ran out."""
    rows.connection.execute(text("UPDATE workers SET lease_expires_at = now() - interval '1 second'"))
    ledger.reap(rows.connection)
    assert rows.claim()


def _lock(connection: Connection, prediction_id: UUID) -> None:
    """Keep a row from being written until the transaction ends."""
    connection.execute(text("SELECT 1 FROM predictions WHERE id = :id FOR UPDATE"), {"id": prediction_id})


def _somebody_waits_for_a_row(rows: Rows) -> bool:
    waiting = text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
    return bool(rows.connection.execute(waiting).scalar_one())


def _cut_off(rows: Rows) -> None:
    """End the connection that results are written with, as a restart of Postgres does."""
    ended = text("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = 'results'")
    assert rows.connection.execute(ended).scalars().all()
