"""`tasks.maintenance`: the jobs of beat, called as plain functions on real rows."""

from datetime import timedelta
from unittest.mock import Mock
from uuid import UUID

import pytest
import redis
from sqlalchemy import Engine as Database
from sqlalchemy import text

from schemas.names import FINISHED_CHANNEL, QueueName, TaskName
from store.partitions import ensure_partitions, partition_names
from store.settings import Settings
from tasks.doorbell import Doorbell
from tasks.maintenance import IDEMPOTENCY_DAYS, REAP_LOCK_ID, STRANDED_S, Maintenance
from tests.broker import PREFIX, listening, waiting_messages
from tests.factories import HOST, Rows


@pytest.fixture
def maintenance(database: Database, settings: Settings, valkey: redis.Redis) -> Maintenance:
    valkey.delete(f"{PREFIX}{QueueName.INFERENCE}")
    return Maintenance(database, valkey, Doorbell(settings.redis_url), timedelta(days=90))


def test_reaping_takes_back_what_a_dead_worker_held(maintenance: Maintenance, committed: Rows) -> None:
    claim = _claim_and_lose(committed)

    maintenance.reap_leases()

    assert committed.status(claim) == "queued"


def test_every_second_all_is_done_though_one_job_fails(
    maintenance: Maintenance, committed: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = _claim_and_lose(committed)
    monkeypatch.setattr(maintenance, "keep_traffic", Mock(side_effect=ValueError("no split is like this")))
    monkeypatch.setattr(maintenance, "advance_backtests", after := Mock())

    with pytest.RaisesGroup(pytest.RaisesExc(ValueError, match="no split is like this")):
        maintenance.tend_queue()

    assert committed.status(claim) == "queued"
    after.assert_called_once()


def test_reaping_rings_for_what_waits_again(maintenance: Maintenance, committed: Rows, valkey: redis.Redis) -> None:
    claim = _claim_and_lose(committed)

    maintenance.reap_leases()

    assert _rung(valkey) == [str(claim)]


def test_reaping_nothing_rings_nobody(maintenance: Maintenance, committed: Rows, valkey: redis.Redis) -> None:
    committed.claim_one()

    maintenance.reap_leases()

    assert _rung(valkey) == []


def test_reaping_is_left_to_who_reaps_already(maintenance: Maintenance, committed: Rows, database: Database) -> None:
    claim = _claim_and_lose(committed)

    with database.begin() as other:
        other.execute(text("SELECT pg_advisory_xact_lock(:id)"), {"id": REAP_LOCK_ID})
        maintenance.reap_leases()

    assert committed.status(claim) == "processing"


def test_who_waits_for_a_row_that_failed_for_good_is_told(
    maintenance: Maintenance, committed: Rows, valkey: redis.Redis
) -> None:
    claim = _claim_and_lose(committed)
    committed.connection.execute(text("UPDATE predictions SET crash_count = 1"))

    with listening(valkey, FINISHED_CHANNEL) as hear:
        maintenance.reap_leases()
        assert hear(1) == [(FINISHED_CHANNEL, [str(claim)])]

    assert committed.get(claim).error_code == "worker_crash"


def test_a_dead_process_gives_back_what_it_held_at_once(maintenance: Maintenance, committed: Rows) -> None:
    claim = committed.claim_one().id

    maintenance.release_dead_worker(HOST, 1)

    assert committed.status(claim) == "queued"


def test_a_doorbell_rings_for_a_row_that_nobody_heard_of(
    maintenance: Maintenance, committed: Rows, valkey: redis.Redis
) -> None:
    stranded, young = committed.add(), committed.add()
    committed.shift(stranded, "run_after", -2 * STRANDED_S)
    committed.shift(young, "run_after", 60)

    maintenance.ring_stranded()

    [(task, message)] = waiting_messages(valkey, QueueName.INFERENCE)
    assert task == TaskName.RUN_PREDICTIONS
    assert message == {"model": "xor", "version": 1, "prediction_ids": [str(stranded)], "probe": False}


def test_a_row_past_its_deadline_expires_and_its_waiter_is_told(
    maintenance: Maintenance, committed: Rows, valkey: redis.Redis
) -> None:
    late = committed.add(deadline_ms=1000)
    committed.shift(late, "deadline_at", -1)

    with listening(valkey, FINISHED_CHANNEL) as hear:
        maintenance.expire_predictions()
        assert hear(1) == [(FINISHED_CHANNEL, [str(late)])]

    assert committed.status(late) == "expired"


def test_partitions_that_are_missing_are_made(maintenance: Maintenance, database: Database) -> None:
    with database.begin() as connection:
        *_, last = before = partition_names(connection)
        connection.execute(text(f"DROP TABLE {last}"))

    maintenance.maintain_partitions()

    with database.begin() as connection:
        assert partition_names(connection) == before


def test_partitions_past_their_retention_are_dropped(
    database: Database, valkey: redis.Redis, settings: Settings
) -> None:
    keeps_nothing = Maintenance(database, valkey, Doorbell(settings.redis_url), timedelta(0))
    with database.begin() as connection:
        before = partition_names(connection)

    keeps_nothing.maintain_partitions()

    with database.begin() as connection:
        assert partition_names(connection) == before[1:]
        ensure_partitions(connection)


def test_idempotency_keys_past_their_promise_are_forgotten(maintenance: Maintenance, committed: Rows) -> None:
    committed.add(idempotency_key="k", request_sha256="aa")
    age = text("UPDATE idempotency_keys SET created_at = now() - :days * interval '1 day'")
    committed.connection.execute(age, {"days": IDEMPOTENCY_DAYS + 1})

    maintenance.purge_idempotency_keys()

    left = committed.connection.execute(text("SELECT count(*) FROM idempotency_keys"))
    assert left.scalar_one() == 0


def _claim_and_lose(rows: Rows) -> UUID:
    """Claim a row by a worker whose lease runs out."""
    claim = rows.claim_one()
    rows.shift_lease(rows.worker_id, -1)
    return claim.id


def _rung(valkey: redis.Redis) -> list[str]:
    return [each for _, message in waiting_messages(valkey, QueueName.INFERENCE) for each in message["prediction_ids"]]
