"""The ledger: the only SQL that moves a prediction from state to state.

Each function is one compare-and-set statement over a group of rows, so that the cost of a commit is shared
and a crash between two statements cannot leave half a step. Callers hand in a connection; a single statement
needs no transaction of its own, so the hot callers use autocommit and save two round trips. All times are
Postgres' `now()`. A trigger in the database refuses illegal edges, whatever code runs.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import Connection, Row

from schemas.enums import PredictionStatus, StopReason
from schemas.messages import PredictionFinished
from store import ledger_accept_sql as accept_sql
from store import ledger_claim_sql as claim_sql
from store import ledger_sql as sql
from store.ledger_rows import (
    Answer,
    Claim,
    ClaimRule,
    Finished,
    Outcome,
    Requeued,
    Submission,
    answer_row,
    finished_event,
    outcome_row,
    read_claims,
    read_finished,
    submission_row,
)
from store.queue_span import LOWEST, QueueSpan, queue_span, without_floor

#: Claims of one row before it fails with `attempts_exhausted`.
MAX_ATTEMPTS = 3

#: Claims that ended with the process dead before the row fails with `worker_crash`.
MAX_CRASHES = 2

#: Bytes of files in one claim, where the version's own `max_batch_cost` does not say: a full batch of photos as a web
#: shop has them stays far below, and of the largest that are accepted five fit.
MAX_CLAIM_BYTES = 64 * 1024 * 1024

#: A claim older than this counts as hung, whatever its worker's heartbeat says.
ATTEMPT_BUDGET_S = 60.0

#: Leases are looked at every second, by any of several processes. After so long without, nobody reached Postgres.
REAPING_GAP_S = 3.0

#: That somebody looked is noted so often.
NOTE_EVERY_S = 0.9

#: So long after such a gap no lease expires and no claim counts as hung. A worker tries to renew twice a second then.
LENIENCY_S = 5.0


def submit(connection: Connection, group: Sequence[Submission]) -> dict[UUID, datetime]:
    """Accept a group of predictions in one statement.

    Returns:
        The acceptance time by id. An id that is missing was a repeat: its idempotency key was already there,
        and `find_repeat` tells for which prediction.
    """
    rows = [submission_row(submission) for submission in group]
    statement = accept_sql.SUBMIT_PLAIN if _are_plain(rows) else accept_sql.SUBMIT
    return {row.id: row.created_at for row in statement.run(connection, rows=_dump(rows))}


def record(connection: Connection, group: Sequence[tuple[Submission, Answer]]) -> dict[UUID, PredictionFinished]:
    """Store a group of predictions that are answered already, in one statement.

    Returns:
        What became of each, by id. An id that is missing was a repeat, as with `submit`.
    """
    rows = [submission_row(submission) | answer_row(answer) for submission, answer in group]
    statement = accept_sql.RECORD_PLAIN if _are_plain(rows) else accept_sql.RECORD
    stored = {row.id: row for row in statement.run(connection, rows=_dump(rows))}
    return {
        submission.id: finished_event(submission.id, answer, row.created_at, row.finished_at)
        for submission, answer in group
        if (row := stored.get(submission.id)) is not None
    }


def claim(
    connection: Connection,
    *,
    worker_id: int,
    device: str,
    limit: int,
    max_cost: int = MAX_CLAIM_BYTES,
    skip: Sequence[int] = (),
    rules: Sequence[ClaimRule] = (),
) -> list[Claim]:
    """Take up to `limit` rows of one model version: the version of the most urgent row that this worker may take.

    Cancelled rows and rows past their deadline are skipped. A row that was in a crash is taken alone.

    Args:
        connection: To write with.
        worker_id: The life that holds the rows from now on.
        device: Written into the rows.
        limit: Rows, where the version's `max_batch` is not less.
        max_cost: Bytes of their files, where the version has no `max_batch_cost`; the first row is always taken.
        skip: Versions whose rows are left waiting.
        rules: For the versions in which other devices are faster, which rows are left to them.
    """
    parameters = {
        "worker": worker_id,
        "device": device,
        "limit": limit,
        "max_cost": max_cost,
        "skip": list(skip),
        "budget": ATTEMPT_BUDGET_S,
    }
    span = queue_span(connection)
    taken = _take(connection, span, rules, parameters)
    if not taken and span.floor != LOWEST:
        # Nothing is said to be empty before all was looked at: what was given back may stand before the floor.
        taken = _take(connection, without_floor(connection, span), rules, parameters)
    return taken


def _take(
    connection: Connection, span: QueueSpan, rules: Sequence[ClaimRule], parameters: Mapping[str, Any]
) -> list[Claim]:
    bounds = asdict(span)
    if rules:
        dumped = _dump([asdict(rule) for rule in rules])
        return read_claims(claim_sql.CLAIM_BEHIND.run(connection, rules=dumped, **parameters, **bounds))
    return read_claims(claim_sql.CLAIM.run(connection, **parameters, **bounds))


def complete(connection: Connection, outcomes: Sequence[Outcome]) -> list[Finished]:
    """Store results and failures of a batch, only where the fence still matches.

    Returns:
        The rows that this call finished. One that is missing was fenced: cancelled, or claimed by another
        worker since; its outcome is dropped.
    """
    if not outcomes:
        return []
    rows = [outcome_row(outcome) for outcome in outcomes]
    ids = [outcome.claim.id for outcome in outcomes]
    return read_finished(sql.COMPLETE.run(connection, rows=_dump(rows), least=min(ids), greatest=max(ids)))


def release(connection: Connection, claims: Iterable[Claim], *, delay_s: float = 0.0, keep_attempt: bool) -> Requeued:
    """Give claims back unfinished.

    Args:
        connection: To write with.
        claims: Rows that the caller holds; those it no longer holds are left alone.
        delay_s: Not claimed again before this many seconds.
        keep_attempt: True when the row was not to blame (a drain): the attempt is not used up.
    """
    rows = [{"id": str(claim.id), "fence": claim.fence} for claim in claims]
    found = sql.RELEASE.run(
        connection, rows=_dump(rows), delay=delay_s, refund=int(keep_attempt), max_attempts=MAX_ATTEMPTS
    )
    return _requeued(found)


def reap(connection: Connection) -> Requeued:
    """Take back what workers hold whose lease ran out, and claims that hang past their budget.

    Safe from any number of processes: one reaps, the others find the lock taken and do nothing.
    """
    lenient = note_reaping(connection)
    if not lenient:
        sql.EXPIRE_LEASES.run(connection)
    return _take_back(connection, lenient=lenient)


def note_reaping(connection: Connection) -> bool:
    """Say that leases are looked at now; call it before anything is taken from anybody.

    Returns:
        Whether none may expire yet. Nobody has looked for longer than `REAPING_GAP_S`, or did so a moment ago for the
        first time since: those who live could not renew either.
    """
    row = sql.LAST_REAPING.run(connection, interval=NOTE_EVERY_S).one_or_none()
    if row is None or row.is_due:
        row = sql.NOTE_REAPING.run(connection, gap=REAPING_GAP_S, leniency=LENIENCY_S).one()
    return bool(row.lenient)


def end_life(connection: Connection, worker_id: int, reason: StopReason) -> int:
    """End a life that says so itself, and give back what it holds: no attempt is used up.

    Returns:
        How many rows wait again; 0 where somebody ended the life before.
    """
    return len(sql.END_LIFE.run(connection, worker=worker_id, reason=str(reason)).all())


def release_dead_worker(connection: Connection, *, host: str, pid: int) -> Requeued:
    """Take back at once what a process held that has certainly died. The supervisor's shortcut past the lease."""
    sql.END_DEAD_WORKER.run(connection, host=host, pid=pid)
    return _take_back(connection, lenient=True)


def expire(connection: Connection) -> list[Finished]:
    """Expire the queued rows whose deadline is over."""
    return read_finished(sql.EXPIRE.run(connection))


def cancel(connection: Connection, prediction_id: UUID) -> list[Finished]:
    """Cancel one row that is not terminal. A worker that computes it finds its fence stale and drops the result.

    Returns:
        One entry, or none when the row was terminal already or is unknown.
    """
    return read_finished(sql.CANCEL.run(connection, id=prediction_id))


def cancel_backtest(connection: Connection, backtest_id: int) -> list[Finished]:
    """Cancel the open replays of a backtest, as `cancel` does."""
    return read_finished(sql.CANCEL_BACKTEST.run(connection, backtest_id=backtest_id))


def cancel_all(connection: Connection, ids: Sequence[UUID]) -> list[Finished]:
    """Cancel those of many rows that are open, as `cancel` does."""
    return read_finished(sql.CANCEL_ALL.run(connection, ids=list(ids)))


def cancel_puts(connection: Connection, *, api_key_id: int, model_id: int, item_id: int) -> list[Finished]:
    """Cancel the open requests that would put an item into a model's index: it is to be removed."""
    return read_finished(sql.CANCEL_PUTS.run(connection, api_key_id=api_key_id, model_id=model_id, item_id=item_id))


def finished_among(connection: Connection, ids: Sequence[UUID]) -> list[Finished]:
    """Read which of these are terminal, for whoever may have missed a notification."""
    return read_finished(sql.FINISHED_AMONG.run(connection, ids=list(ids)))


def stranded(connection: Connection, *, older_than_s: float) -> list[tuple[str, int, list[str]]]:
    """Find rows that should have been claimed by now, as (model, version, some ids), to be rung again."""
    found = sql.STRANDED.run(connection, age=older_than_s)
    return [(row.model, row.version, row.ids) for row in found]


def find_repeat(connection: Connection, *, api_key_id: int, key: str) -> tuple[UUID, str] | None:
    """Return the prediction and the request hash that an idempotency key stands for."""
    row = sql.FIND_REPEAT.run(connection, api_key_id=api_key_id, key=key).one_or_none()
    return None if row is None else (row.prediction_id, row.request_sha256)


def purge_idempotency_keys(connection: Connection, *, older_than_days: float) -> int:
    """Forget idempotency keys past their promise. Returns how many."""
    return sql.PURGE_IDEMPOTENCY_KEYS.run(connection, days=older_than_days).rowcount


def _take_back(connection: Connection, *, lenient: bool) -> Requeued:
    """Take back what ended lives hold, and what hangs, unless that may be for want of Postgres."""
    return _requeued(sql.TAKE_BACK.run(connection, max_attempts=MAX_ATTEMPTS, max_crashes=MAX_CRASHES, lenient=lenient))


def _requeued(found: Iterable[Row[Any]]) -> Requeued:
    rows = list(found)
    ended = read_finished(row for row in rows if row.status != PredictionStatus.QUEUED)
    return Requeued(queued=len(rows) - len(ended), finished=ended)


def _are_plain(rows: Sequence[dict[str, Any]]) -> bool:
    """Items, idempotency keys and pictures to fetch cost more writes; the statement without them is the hot path."""
    return all(row["catalog"] is None and row["idempotency_key"] is None and row["image_url"] is None for row in rows)


def _dump(rows: list[dict[str, Any]]) -> str:
    return orjson.dumps(rows).decode()
