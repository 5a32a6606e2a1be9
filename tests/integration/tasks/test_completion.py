"""`tasks.completion`: outcomes are stored, or wait for Postgres on disk, or their fault is heard."""

from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest
import redis
from sqlalchemy import Engine as Database
from sqlalchemy.exc import DataError

from store import ledger
from store.database import create_database
from store.objects import ObjectStore
from store.settings import Settings
from tasks.completion import Completion
from tasks.finishing import FinishContext, Finishers
from tasks.spool import Spool
from tasks.successor import succeed
from tests.broker import listening
from tests.factories import Rows, success
from tests.outage import cut_off
from tests.running import wait_until

RESULTS = "results"


@pytest.fixture
def results(settings: Settings) -> Iterator[Database]:
    """What results are written with, apart from all other connections."""
    database = create_database(settings.database_url, application=RESULTS, pool_size=2)
    yield database
    database.dispose()


@pytest.fixture
def completion(
    results: Database,
    valkey: redis.Redis,
    objects: ObjectStore,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Completion]:
    monkeypatch.setattr("tasks.completion.RETRY_S", 0.02)
    finishers = Finishers(FinishContext(database=results, objects=objects))
    completion = Completion(results, valkey, finishers, Spool(tmp_path, "cpu-0"))
    yield completion
    completion.close()


def test_outcomes_are_stored(completion: Completion, committed: Rows) -> None:
    claim = committed.claim_one()

    completion.finish([success(claim)])

    assert committed.status(claim.id) == "succeeded"


def test_an_outcome_that_postgres_cannot_hold_is_an_error_and_not_tried_for_ever(
    completion: Completion, committed: Rows
) -> None:
    claim = committed.claim_one()

    with pytest.raises(DataError):
        completion.finish([success(claim, label="\0")])


def test_a_fault_spoils_no_later_outcome(completion: Completion, committed: Rows) -> None:
    broken, good = committed.claim_one(), committed.claim_one()
    with pytest.raises(DataError):
        completion.finish([success(broken, label="\0")])

    completion.finish([success(good)])

    assert committed.status(good.id) == "succeeded"


def test_while_postgres_is_away_outcomes_wait_on_disk(
    completion: Completion, committed: Rows, results: Database, tmp_path: Path
) -> None:
    claim = committed.claim_one()

    with cut_off(results, committed.connection, RESULTS):
        completion.finish([success(claim)])

        assert completion.waits()
        assert len(list(tmp_path.glob("*.spool"))) == 1


def test_when_postgres_is_back_all_that_waits_is_stored_and_nothing_is_left_on_disk(
    completion: Completion, committed: Rows, results: Database, tmp_path: Path
) -> None:
    claims = [committed.claim_one(), committed.claim_one()]
    with cut_off(results, committed.connection, RESULTS):
        for claim in claims:
            completion.finish([success(claim)])

    wait_until(lambda: not completion.waits())

    assert committed.statuses([claim.id for claim in claims]) == ["succeeded"] * 2
    assert list(tmp_path.iterdir()) == []


def test_who_waits_for_an_answer_is_told_when_it_is_stored_at_last(
    completion: Completion, committed: Rows, results: Database, valkey: redis.Redis
) -> None:
    claim = committed.claim_one(reply_channel="web-1")

    with listening(valkey, "web-1") as hear:
        with cut_off(results, committed.connection, RESULTS):
            completion.finish([success(claim)])
        [(_, [event])] = hear(1)

    assert event["id"] == str(claim.id)


def test_an_outcome_that_waited_is_dropped_when_somebody_else_has_its_row(
    completion: Completion, committed: Rows, results: Database
) -> None:
    claim = committed.claim_one()
    with cut_off(results, committed.connection, RESULTS):
        completion.finish([success(claim)])
        ledger.release(committed.connection, [claim], keep_attempt=False)
        [again] = committed.claim()

    wait_until(lambda: not completion.waits())

    row = committed.get(claim.id)
    assert (row.status, row.fence, row.result) == ("processing", again.fence, None)


def test_settling_before_postgres_is_back_is_heard(completion: Completion, committed: Rows, results: Database) -> None:
    claim = committed.claim_one()

    with cut_off(results, committed.connection, RESULTS):
        completion.finish([success(claim)])
        with pytest.raises(Exception, match="keeps Postgres away"):
            completion.settle()


def test_what_a_worker_leaves_its_successor_stores(
    completion: Completion,
    committed: Rows,
    results: Database,
    database: Database,
    valkey: redis.Redis,
    tmp_path: Path,
) -> None:
    claim = _leave_one(completion, committed, results)

    assert succeed(database, valkey, tmp_path) == 1

    row = committed.get(claim)
    assert (row.status, row.attempt, row.crash_count) == ("succeeded", 1, 0)


def test_a_successor_drops_what_was_computed_again_meanwhile(
    completion: Completion,
    committed: Rows,
    results: Database,
    database: Database,
    valkey: redis.Redis,
    tmp_path: Path,
) -> None:
    claim = _leave_one(completion, committed, results)
    committed.shift_lease(committed.worker_id, -1)
    ledger.reap(committed.connection)

    assert succeed(database, valkey, tmp_path) == 0

    assert committed.status(claim) == "queued"


def test_a_successor_does_not_stumble_over_what_postgres_cannot_hold(
    committed: Rows, database: Database, valkey: redis.Redis, tmp_path: Path
) -> None:
    good, broken = committed.claim_one(), committed.claim_one()
    spool = Spool(tmp_path, "cpu-0")
    spool.append([success(broken, label="\0")])
    spool.append([success(good)])
    spool.close()

    assert succeed(database, valkey, tmp_path) == 1

    assert committed.statuses([good.id, broken.id]) == ["succeeded", "processing"]


def _leave_one(completion: Completion, rows: Rows, results: Database) -> UUID:
    """Let a worker end with a result that it could not store."""
    claim = rows.claim_one()
    with cut_off(results, rows.connection, RESULTS):
        completion.finish([success(claim)])
        completion.close()
    return claim.id
