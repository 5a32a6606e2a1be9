"""`tasks.life`: a process's row in `workers`, from its registration to its end."""

from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import Engine as Database
from sqlalchemy import select
from sqlalchemy.exc import OperationalError

from store import ledger
from store.database import open_session
from store.tables.worker import Worker
from tasks.life import WorkerLife
from tests.factories import Rows
from tests.integration.tasks.conftest import make_life
from tests.running import wait_until

BEAT_S = 5.0


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
        wait_until(lambda: self.count >= wanted, BEAT_S)


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
    committed.shift_lease(lost, -1)
    ledger.reap(committed.connection)

    wait_until(lambda: life.worker_id != lost, BEAT_S)

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


@pytest.fixture
def read(database: Database) -> Callable[[], list[Worker]]:
    """Read all workers, oldest first."""

    def read_all() -> list[Worker]:
        with open_session(database) as session:
            return list(session.scalars(select(Worker).order_by(Worker.id)))

    return read_all
