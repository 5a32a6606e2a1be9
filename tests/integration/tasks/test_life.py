"""`tasks.life`: a process's row in `workers`, from its registration to its end."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import Engine as Database
from sqlalchemy import select
from sqlalchemy.exc import OperationalError

from schemas.enums import StopReason
from store import ledger
from store.database import open_session
from store.ledger_rows import Claim
from store.tables.worker import Worker
from store.workers import end_worker
from tasks.life import WorkerLife
from tests.factories import Rows, success
from tests.integration.tasks.conftest import make_life
from tests.running import PATIENCE_S, wait_until

MakeLife = Callable[..., WorkerLife]


class Beats:
    """Counts the beats of a life, and fails the first when it was told to."""

    def __init__(self) -> None:
        self.count = 0
        self.fails_first = False

    def __call__(self) -> None:
        self.count += 1
        if self.fails_first and self.count == 1:
            raise OperationalError("SELECT 1", {}, Exception("away"))

    def wait_for(self, count: int) -> None:
        """Wait until there were so many more."""
        wanted = self.count + count
        wait_until(lambda: self.count >= wanted)


@pytest.fixture
def beats() -> Beats:
    return Beats()


@pytest.fixture
def life(database: Database, committed: Rows, beats: Beats, monkeypatch: pytest.MonkeyPatch) -> Iterator[WorkerLife]:  # noqa: ARG001 - removes what the test commits
    """A life that beats as fast as it can."""
    monkeypatch.setattr("tasks.life.HEARTBEAT_S", 0.01)
    life = make_life(database, on_beat=beats)
    yield life
    life.end()


def test_a_life_begins_with_a_row_that_says_what_it_is(life: WorkerLife, read: Callable[[], list[Worker]]) -> None:
    life.begin()

    [worker] = read()
    assert (worker.id, worker.name, worker.role) == (life.worker_id, "cpu-0@here", "inference")
    assert (worker.device, worker.queue, worker.models) == ("cpu:0", "inference-cpu-0", ["xor/1"])


def test_a_life_that_has_not_begun_launches_no_work(life: WorkerLife) -> None:
    assert not life.is_valid()


def test_a_life_that_has_begun_launches_work(life: WorkerLife) -> None:
    life.begin()

    assert life.is_valid()


def test_a_life_renews_its_lease(life: WorkerLife, beats: Beats, read: Callable[[], list[Worker]]) -> None:
    life.begin()
    [before] = read()

    beats.wait_for(2)

    [after] = read()
    assert after.id == before.id
    assert after.lease_expires_at > before.lease_expires_at


@pytest.mark.usefixtures("beats")
def test_a_life_whose_lease_was_ended_begins_anew(
    life: WorkerLife, committed: Rows, read: Callable[[], list[Worker]]
) -> None:
    life.begin()
    lost = life.worker_id
    # At once: a life that beats as fast as this one would renew a lease before anybody could find it over.
    end_worker(committed.connection, lost, StopReason.LEASE_EXPIRED)

    wait_until(lambda: life.worker_id != lost)

    assert [worker.id for worker in read() if worker.stopped_at is None] == [life.worker_id]


def test_a_life_goes_on_when_postgres_was_away(life: WorkerLife, beats: Beats) -> None:
    beats.fails_first = True
    life.begin()

    beats.wait_for(3)


@pytest.mark.usefixtures("committed")
def test_a_life_ends_with_its_reason(database: Database, read: Callable[[], list[Worker]]) -> None:
    life = make_life(database)
    life.begin()

    life.end()

    [worker] = read()
    assert (worker.stop_reason, worker.stopped_at is None) == ("drained", False)


def test_a_life_that_never_began_can_be_ended(database: Database, read: Callable[[], list[Worker]]) -> None:
    make_life(database).end()

    assert read() == []


def test_a_life_that_was_silent_for_too_long_begins_anew(make: MakeLife, read: Callable[[], list[Worker]]) -> None:
    life = make(settle=lambda: None)
    life.begin()
    lost = life.worker_id

    life.doubt()

    wait_until(lambda: life.worker_id != lost)
    assert [(each.id, each.stop_reason) for each in read()] == [(lost, "self_fenced"), (life.worker_id, None)]


def test_what_a_silent_life_held_is_given_back_with_its_attempt(make: MakeLife, committed: Rows) -> None:
    life = make(settle=lambda: None)
    life.begin()
    prediction_id = committed.add()
    committed.claim(worker_id=life.worker_id)
    lost = life.worker_id

    life.doubt()

    wait_until(lambda: life.worker_id != lost)
    row = committed.get(prediction_id)
    assert (row.status, row.attempt, row.crash_count) == ("queued", 0, 0)


def test_what_is_finished_is_stored_before_a_new_life_begins(make: MakeLife, committed: Rows) -> None:
    claims: list[Claim] = []
    life = make(settle=lambda: ledger.complete(committed.connection, [success(claim) for claim in claims]))
    life.begin()
    prediction_id = committed.add()
    claims += committed.claim(worker_id=life.worker_id)
    lost = life.worker_id

    life.doubt()

    wait_until(lambda: life.worker_id != lost)
    assert committed.status(prediction_id) == "succeeded"


def test_no_new_life_begins_while_what_is_finished_cannot_be_stored(make: MakeLife) -> None:
    tries = Tries()
    life = make(settle=tries.fail)
    life.begin()
    before = life.worker_id

    life.doubt()

    wait_until(lambda: tries.count >= 2)
    assert (life.worker_id, life.is_valid()) == (before, False)


def test_a_life_without_results_to_settle_goes_on_after_a_silence(make: MakeLife, beats: Beats) -> None:
    life = make()
    life.begin()
    before = life.worker_id

    life.doubt()

    beats.wait_for(2)
    assert (life.worker_id, life.is_valid()) == (before, True)


def test_a_device_that_hangs_loses_its_lease(make: MakeLife, beats: Beats, read: Callable[[], list[Worker]]) -> None:
    life = make(is_moving=lambda: False)
    life.begin()
    [before] = read()

    beats.wait_for(2)

    assert [each.lease_expires_at for each in read()] == [before.lease_expires_at]


def test_a_worker_that_drains_says_so_at_once(
    make: MakeLife, read: Callable[[], list[Worker]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.life.HEARTBEAT_S", 60.0)
    life = make()
    life.begin()

    life.say_draining()

    wait_until(lambda: [each.state for each in read()] == ["draining"])


def test_a_life_that_quits_gives_back_what_it_holds_and_ends_the_process(
    make: MakeLife, committed: Rows, read: Callable[[], list[Worker]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os._exit", _exit)
    life = make()
    life.begin()
    prediction_id = committed.add()
    committed.claim(worker_id=life.worker_id)

    with pytest.raises(SystemExit, match="70"):
        life.quit(StopReason.DEVICE_LOST, 70, within_s=PATIENCE_S)

    row = committed.get(prediction_id)
    assert (row.status, row.attempt, [each.stop_reason for each in read()]) == ("queued", 0, ["device_lost"])


def test_no_new_life_begins_in_a_process_that_quits(
    make: MakeLife, read: Callable[[], list[Worker]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os._exit", _exit)
    life = make()
    life.begin()

    with pytest.raises(SystemExit):
        life.quit(StopReason.DEVICE_LOST, 70, within_s=PATIENCE_S)
    life.tell()

    assert [each.stop_reason for each in read()] == ["device_lost"]


def test_a_life_that_is_about_to_begin_anew_does_not_in_a_process_that_quits(
    make: MakeLife, read: Callable[[], list[Worker]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os._exit", _exit)

    def quit_meanwhile() -> None:
        with pytest.raises(SystemExit):
            restless.quit(StopReason.DEVICE_LOST, 70, within_s=PATIENCE_S)

    restless = make(settle=quit_meanwhile)
    restless.begin()
    restless.doubt()
    wait_until(lambda: [each.stop_reason for each in read()] == ["device_lost"])
    restless.end()

    assert len(read()) == 1


def test_what_a_hung_life_held_counts_as_a_crash(
    make: MakeLife, committed: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os._exit", _exit)
    life = make()
    life.begin()
    prediction_id = committed.add()
    committed.claim(worker_id=life.worker_id)

    with pytest.raises(SystemExit):
        life.quit(StopReason.HUNG, 70, within_s=PATIENCE_S)
    ledger.reap(committed.connection)

    row = committed.get(prediction_id)
    assert (row.status, row.crash_count) == ("queued", 1)


class Tries:
    """Counts how often something was tried in vain."""

    def __init__(self) -> None:
        self.count = 0

    def fail(self) -> None:
        """Be in vain."""
        self.count += 1
        raise OperationalError("SELECT 1", {}, Exception("away"))


def _exit(status: int) -> None:
    raise SystemExit(status)


@pytest.fixture
def make(
    database: Database,
    committed: Rows,  # noqa: ARG001 - removes what the test commits
    beats: Beats,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[MakeLife]:
    """Make lives that beat as fast as they can."""
    monkeypatch.setattr("tasks.life.HEARTBEAT_S", 0.01)
    monkeypatch.setattr("tasks.life.RETRY_S", 0.01)
    made: list[WorkerLife] = []

    def make_one(**changes: Any) -> WorkerLife:
        made.append(make_life(database, on_beat=beats, **changes))
        return made[-1]

    yield make_one
    for life in made:
        life.end()


@pytest.fixture
def read(database: Database) -> Callable[[], list[Worker]]:
    """Read all workers, oldest first."""

    def read_all() -> list[Worker]:
        with open_session(database) as session:
            return list(session.scalars(select(Worker).order_by(Worker.id)))

    return read_all
