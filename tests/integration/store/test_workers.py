"""`store.workers`: one heartbeat row a process."""

from sqlalchemy.orm import Session

from schemas.enums import StopReason
from store import ledger
from store.tables.worker import Worker
from store.workers import LEASE_S, end_worker, live_workers, renew_lease
from tests.factories import Rows


def test_a_registered_worker_is_live(rows: Rows, session: Session) -> None:
    worker_id = rows.worker()

    assert [worker.id for worker in live_workers(session)] == [worker_id]


def test_a_lease_holds_for_its_time_from_registration(rows: Rows, session: Session) -> None:
    worker = session.get_one(Worker, rows.worker())

    assert (worker.lease_expires_at - worker.created_at).total_seconds() == LEASE_S


def test_a_restart_is_a_new_epoch(rows: Rows) -> None:
    assert rows.worker() < rows.worker()


def test_a_renewal_extends_the_lease(rows: Rows, session: Session) -> None:
    worker_id = rows.worker()
    rows.shift_lease(worker_id, 1)

    assert renew_lease(rows.connection, worker_id, [])
    worker = session.get_one(Worker, worker_id)
    assert (worker.lease_expires_at - worker.created_at).total_seconds() == LEASE_S


def test_a_renewal_tells_what_is_loaded(rows: Rows, session: Session) -> None:
    worker_id = rows.worker()

    renew_lease(rows.connection, worker_id, ["xor/1"])

    assert session.get_one(Worker, worker_id).models == ["xor/1"]


def test_a_life_that_was_ended_cannot_be_renewed(rows: Rows) -> None:
    worker_id = rows.worker()
    rows.shift_lease(worker_id, -1)
    ledger.reap(rows.connection)

    assert not renew_lease(rows.connection, worker_id, [])


def test_a_worker_that_ended_is_not_live(rows: Rows, session: Session) -> None:
    worker_id = rows.worker()

    end_worker(rows.connection, worker_id, StopReason.DRAINED)

    assert live_workers(session) == []
    assert session.get_one(Worker, worker_id).stop_reason == "drained"


def test_the_first_reason_of_an_end_stays(rows: Rows, session: Session) -> None:
    worker_id = rows.worker()

    for reason in (StopReason.DIED, StopReason.DRAINED):
        end_worker(rows.connection, worker_id, reason)

    assert session.get_one(Worker, worker_id).stop_reason == "died"


def test_a_worker_whose_lease_ran_out_is_not_live(rows: Rows, session: Session) -> None:
    rows.shift_lease(rows.worker(), -1)

    assert live_workers(session) == []


def test_live_workers_are_listed_by_name(rows: Rows, session: Session) -> None:
    for host in ("b", "a"):
        rows.worker(host=host)

    assert [worker.name for worker in live_workers(session)] == ["cpu-0@a", "cpu-0@b"]
