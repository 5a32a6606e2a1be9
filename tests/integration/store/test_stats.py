"""`store.stats`: figures that are read from the rows."""

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, text

from schemas.enums import Priority
from store import ledger
from store.ledger_rows import Claim
from store.partitions import least_id
from store.stats import (
    KEPT_S,
    RATE_WINDOW_S,
    SETTLED_S,
    WINDOW_S,
    finished_per_second,
    model_stats,
    queue_depths,
    summarize_finished,
)
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

    assert (stats["total_p50_ms"], stats["total_p99_ms"]) == (approx_ms(2000), approx_ms(2000))


def test_percentiles_are_by_rank(rows: Rows) -> None:
    for claim, seconds in zip(_claim(rows, 100), [0.1] * 60 + [1.0] * 38 + [20.0] * 2, strict=True):
        rows.shift(claim.id, "created_at", -seconds)
        ledger.complete(rows.connection, [success(claim)])

    [stats] = model_stats(rows.connection)

    assert (stats["total_p50_ms"], stats["total_p99_ms"]) == (approx_ms(100), approx_ms(20_000))


def test_what_finished_before_the_window_does_not_count(rows: Rows) -> None:
    _finish_at(rows, -WINDOW_S - 2)

    assert model_stats(rows.connection) == []


def test_what_was_accepted_long_ago_counts_when_it_finishes(rows: Rows) -> None:
    rows.add(id=least_id(datetime.now(UTC) - timedelta(seconds=WINDOW_S + 1)))
    ledger.complete(rows.connection, [success(claim) for claim in rows.claim()])

    assert model_stats(rows.connection)[0]["succeeded"] == 1


def test_summing_up_changes_no_figure(rows: Rows) -> None:
    for seconds in (-40, -20, -10, -0.1):
        _finish_at(rows, seconds)
    _forget_summary(rows)
    before = model_stats(rows.connection)

    summarize_finished(rows.connection)

    assert model_stats(rows.connection) == before
    assert _summed_up(rows) == 3


def test_no_second_is_summed_up_twice(rows: Rows) -> None:
    _finish_at(rows, -20)
    _forget_summary(rows)

    summarize_finished(rows.connection)
    summarize_finished(rows.connection)

    assert _summed_up(rows) == 1


def test_what_was_summed_up_long_ago_is_forgotten(rows: Rows) -> None:
    _finish_at(rows, -20)
    _forget_summary(rows)
    summarize_finished(rows.connection)
    rows.connection.execute(text(f"UPDATE finished_seconds SET second = second - interval '{KEPT_S} seconds'"))
    _forget_summary(rows, -3)

    summarize_finished(rows.connection)

    assert _summed_up(rows) == 0


def test_one_process_sums_up_while_the_others_go_on(database: Engine, committed: Rows) -> None:
    _forget_summary(committed)
    with database.begin() as first, database.begin() as second:
        summarize_finished(first)
        summarize_finished(second)

        found = text("SELECT now() - summarized_to < interval '30 seconds' FROM finished_summary")
        assert (first.execute(found).scalar_one(), second.execute(found).scalar_one()) == (True, False)


def test_what_an_open_transaction_may_still_end_is_not_summed_up(database: Engine, committed: Rows) -> None:
    claim = committed.claim_one()
    with database.begin() as late:
        ledger.complete(late, [success(claim)])
        time.sleep(SETTLED_S + 1.1)
        summarize_finished(committed.connection)

    summarize_finished(committed.connection)
    assert _summed_up(committed) + _not_summed_up(committed) == 1


def test_the_rate_of_the_last_seconds_is_of_what_was_summed_up(rows: Rows) -> None:
    for seconds in (-5, -4, -3):
        _finish_at(rows, seconds)
    _forget_summary(rows)
    summarize_finished(rows.connection)

    assert finished_per_second(rows.connection) == pytest.approx(3 / RATE_WINDOW_S)


def test_the_rate_is_zero_when_nobody_sums_up(rows: Rows) -> None:
    _finish_at(rows, -2)
    _forget_summary(rows)

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


def approx_ms(value: float) -> Any:
    """Equal to 2 %, as latencies are told."""
    return pytest.approx(value, rel=0.02)


def _claim(rows: Rows, count: int) -> list[Claim]:
    rows.add_many(count)
    claims: list[Claim] = []
    while len(claims) < count:
        claims += rows.claim()
    return claims


def _finish_at(rows: Rows, seconds: float) -> None:
    """End a row so many seconds from now."""
    claim = rows.claim_one()
    ledger.complete(rows.connection, [success(claim)])
    rows.shift(claim.id, "finished_at", seconds)


def _forget_summary(rows: Rows, seconds: float = -WINDOW_S) -> None:
    """Set back to where the seconds are summed up."""
    rows.connection.execute(
        text("UPDATE finished_summary SET summarized_to = date_trunc('second', now() + :s * interval '1 second')"),
        {"s": seconds},
    )


def _summed_up(rows: Rows) -> int:
    return int(rows.connection.execute(text("SELECT coalesce(sum(predictions), 0) FROM finished_seconds")).scalar_one())


def _not_summed_up(rows: Rows) -> int:
    found = text("SELECT count(*) FROM predictions WHERE finished_at >= (SELECT summarized_to FROM finished_summary)")
    return int(rows.connection.execute(found).scalar_one())
