"""`store.stats`: figures that are read from the rows."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Connection, text

from schemas.enums import Priority
from store import ledger
from store.partitions import least_id
from store.stats import RATE_WINDOW_S, WINDOW_S, finished_per_second, model_stats, queue_depths
from tests.factories import Rows, failure, success


def test_nothing_finished_is_no_statistics(connection: Connection) -> None:
    assert model_stats(connection) == []


def test_ends_are_counted_by_kind(rows: Rows) -> None:
    _finish(rows)

    [stats] = model_stats(rows.connection)

    assert [stats[kind] for kind in ("succeeded", "failed", "canceled", "expired")] == [1, 1, 1, 1]
    assert (stats["model"], stats["version"]) == ("xor", rows.version.number)


def test_the_rate_is_of_all_ends_within_the_window(rows: Rows) -> None:
    _finish(rows)

    assert model_stats(rows.connection)[0]["per_second"] == pytest.approx(4 / WINDOW_S)


def test_the_latency_is_from_acceptance_to_the_end(rows: Rows) -> None:
    claim = rows.claim_one()
    rows.shift(claim.id, "created_at", -2)
    ledger.complete(rows.connection, [success(claim)])

    [stats] = model_stats(rows.connection)

    assert (stats["total_p50_ms"], stats["total_p99_ms"]) == (2000, 2000)


def test_what_was_accepted_before_the_window_does_not_count(rows: Rows) -> None:
    rows.add(id=least_id(datetime.now(UTC) - timedelta(seconds=WINDOW_S + 1)))
    ledger.complete(rows.connection, [success(claim) for claim in rows.claim()])

    assert model_stats(rows.connection) == []


def test_the_rate_of_the_last_seconds_is_of_what_finished(rows: Rows) -> None:
    _finish(rows)
    rows.add()

    assert finished_per_second(rows.connection) == pytest.approx(4 / RATE_WINDOW_S)


def test_the_rate_is_zero_when_nothing_finished(rows: Rows) -> None:
    rows.add()

    assert finished_per_second(rows.connection) == 0.0


def test_empty_queues_have_no_depth(connection: Connection) -> None:
    assert queue_depths(connection) == []


def test_what_waits_and_what_runs_is_counted_by_priority(rows: Rows) -> None:
    rows.add_many(2)
    rows.claim(limit=1)
    rows.add_many(3, priority=Priority.BULK)

    depths = {row["priority"]: (row["queued"], row["processing"]) for row in queue_depths(rows.connection)}

    assert depths == {"normal": (1, 1), "bulk": (3, 0)}


def test_the_age_is_of_the_row_that_waits_longest(rows: Rows) -> None:
    old, _young = rows.add_many(2)
    rows.shift(old, "created_at", -7)

    assert queue_depths(rows.connection)[0]["oldest_queued_s"] == 7


def test_no_age_is_told_where_nothing_waits(rows: Rows) -> None:
    rows.claim_one()

    assert queue_depths(rows.connection)[0]["oldest_queued_s"] is None


def test_what_is_finished_is_in_no_queue(rows: Rows) -> None:
    _finish(rows)

    assert queue_depths(rows.connection) == []


def _finish(rows: Rows) -> None:
    """End four rows, each in another way."""
    rows.add_many(2)
    good, bad = rows.claim()
    ledger.complete(rows.connection, [success(good), failure(bad)])
    ledger.cancel(rows.connection, rows.add())
    rows.add(deadline_ms=1)
    rows.connection.execute(text("UPDATE predictions SET deadline_at = now() WHERE status = 'queued'"))
    ledger.expire(rows.connection)
