"""The ledger: the only SQL that moves a prediction from state to state.

Each function is one compare-and-set statement over a group of rows, so that the cost of a commit is shared
and a crash between two statements cannot leave half a step. Callers hand in a connection; a single statement
needs no transaction of its own, so the hot callers use autocommit and save two round trips. All times are
Postgres' `now()`. A trigger in the database refuses illegal edges, whatever code runs.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row

from schemas.enums import ErrorCode, PredictionStatus, Priority
from schemas.messages import PredictionFinished
from store import ledger_sql as sql
from store.queue_span import queue_span

#: Claims of one row before it fails with `attempts_exhausted`.
MAX_ATTEMPTS = 3

#: Claims that ended with the process dead before the row fails with `worker_crash`.
MAX_CRASHES = 2

#: A claim older than this counts as hung, whatever its worker's heartbeat says.
ATTEMPT_BUDGET_S = 60.0

#: How long a younger, more urgent row may overtake this one: waiting longer beats any priority.
PRIORITY_DELAY_S = {Priority.INTERACTIVE: 0.0, Priority.NORMAL: 10.0, Priority.BULK: 600.0}


@dataclass(frozen=True, kw_only=True, slots=True)
class Submission:
    """A prediction to be made. Either `input` (JSON) or `input_sha256` (a stored file) is set."""

    id: UUID
    api_key_id: int
    model_id: int
    model_version_id: int
    reply_channel: str | None
    priority: Priority = Priority.NORMAL
    input: Any | None = None
    input_sha256: str | None = None
    input_bytes: int | None = None
    catalog: str | None = None
    external_id: str | None = None
    deadline_ms: int | None = None
    idempotency_key: str | None = None
    request_sha256: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """A row that this worker now holds, under a fence that no later claim shares."""

    id: UUID
    fence: int
    model_version_id: int
    input: Any | None
    input_sha256: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What a worker has to say of a claim: a result, or an error code with a sentence."""

    claim: Claim
    result: dict[str, Any] | None = None
    error_code: ErrorCode | None = None
    error_detail: str | None = None
    decode_ms: float | None = None
    compute_ms: float | None = None


@dataclass(frozen=True, slots=True)
class Finished:
    """A terminal state that is committed, and the channel that waits for it."""

    reply_channel: str | None
    event: PredictionFinished


@dataclass(frozen=True, slots=True)
class Requeued:
    """What a reaping or a release changed: rows that wait again, and rows that failed for good."""

    queued: int
    finished: list[Finished]


def submit(connection: Connection, group: Sequence[Submission]) -> dict[UUID, datetime]:
    """Accept a group of predictions in one statement.

    Returns:
        The acceptance time by id. An id that is missing was a repeat: its idempotency key was already there,
        and `find_repeat` tells for which prediction.
    """
    rows = [_submission_row(submission) for submission in group]
    # Items and idempotency keys cost two more writes; the statement without them is the hot path.
    plain = all(row["catalog"] is None and row["idempotency_key"] is None for row in rows)
    statement = sql.SUBMIT_PLAIN if plain else sql.SUBMIT
    return {row.id: row.created_at for row in statement.run(connection, rows=_dump(rows))}


def claim(connection: Connection, *, worker_id: int, device: str, limit: int) -> list[Claim]:
    """Take up to `limit` rows of one model version: the version of the most urgent row of all.

    Cancelled rows and rows past their deadline are skipped. A row that was in a crash is taken alone.
    """
    since, until = queue_span(connection)
    found = sql.CLAIM.run(
        connection, worker=worker_id, device=device, limit=limit, budget=ATTEMPT_BUDGET_S, since=since, until=until
    )
    rows = sorted(found, key=lambda row: (row.claim_order, row.id))
    return [
        Claim(
            id=row.id,
            fence=row.fence,
            model_version_id=row.model_version_id,
            input=row.input,
            input_sha256=row.input_sha256,
        )
        for row in rows
    ]


def complete(connection: Connection, outcomes: Sequence[Outcome]) -> list[Finished]:
    """Store results and failures of a batch, only where the fence still matches.

    Returns:
        The rows that this call finished. One that is missing was fenced: cancelled, or claimed by another
        worker since; its outcome is dropped.
    """
    if not outcomes:
        return []
    rows = [_outcome_row(outcome) for outcome in outcomes]
    ids = [outcome.claim.id for outcome in outcomes]
    return _finished(sql.COMPLETE.run(connection, rows=_dump(rows), least=min(ids), greatest=max(ids)))


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
    sql.EXPIRE_LEASES.run(connection)
    return _take_back(connection)


def release_dead_worker(connection: Connection, *, host: str, pid: int) -> Requeued:
    """Take back at once what a process held that has certainly died. The supervisor's shortcut past the lease."""
    sql.END_DEAD_WORKER.run(connection, host=host, pid=pid)
    return _take_back(connection)


def expire(connection: Connection) -> list[Finished]:
    """Expire the queued rows whose deadline is over."""
    return _finished(sql.EXPIRE.run(connection))


def cancel(connection: Connection, prediction_id: UUID) -> list[Finished]:
    """Cancel one row that is not terminal. A worker that computes it finds its fence stale and drops the result.

    Returns:
        One entry, or none when the row was terminal already or is unknown.
    """
    return _finished(sql.CANCEL.run(connection, id=prediction_id))


def finished_among(connection: Connection, ids: Sequence[UUID]) -> list[Finished]:
    """Read which of these are terminal, for whoever may have missed a notification."""
    return _finished(sql.FINISHED_AMONG.run(connection, ids=list(ids)))


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


def _take_back(connection: Connection) -> Requeued:
    return _requeued(sql.TAKE_BACK.run(connection, max_attempts=MAX_ATTEMPTS, max_crashes=MAX_CRASHES))


def _requeued(found: Iterable[Row[Any]]) -> Requeued:
    rows = list(found)
    finished = _finished(row for row in rows if row.status != PredictionStatus.QUEUED)
    return Requeued(queued=len(rows) - len(finished), finished=finished)


def _finished(found: Iterable[Row[Any]]) -> list[Finished]:
    return [
        Finished(
            row.reply_channel,
            PredictionFinished(
                id=str(row.id),
                status=row.status,
                attempt=row.attempt,
                result=row.result,
                error_code=row.error_code,
                error_detail=row.error_detail,
                created_at=row.created_at.isoformat(),
                started_at=row.started_at.isoformat() if row.started_at else None,
                finished_at=row.finished_at.isoformat(),
                decode_ms=row.decode_ms,
                compute_ms=row.compute_ms,
                device=row.device,
            ),
        )
        for row in found
    ]


def _submission_row(submission: Submission) -> dict[str, Any]:
    return {
        "id": str(submission.id),
        "api_key_id": submission.api_key_id,
        "model_id": submission.model_id,
        "model_version_id": submission.model_version_id,
        "reply_channel": submission.reply_channel,
        "priority": submission.priority,
        "delay_s": PRIORITY_DELAY_S[submission.priority],
        "input": submission.input,
        "input_sha256": submission.input_sha256,
        "input_bytes": submission.input_bytes,
        "catalog": submission.catalog,
        "external_id": submission.external_id,
        "deadline_ms": submission.deadline_ms,
        "idempotency_key": submission.idempotency_key,
        "request_sha256": submission.request_sha256,
    }


def _outcome_row(outcome: Outcome) -> dict[str, Any]:
    status = PredictionStatus.SUCCEEDED if outcome.error_code is None else PredictionStatus.FAILED
    return {
        "id": str(outcome.claim.id),
        "fence": outcome.claim.fence,
        "status": status,
        "result": outcome.result,
        "error_code": outcome.error_code,
        "error_detail": outcome.error_detail,
        "decode_ms": outcome.decode_ms,
        "compute_ms": outcome.compute_ms,
    }


def _dump(rows: list[dict[str, Any]]) -> str:
    return json.dumps(rows, separators=(",", ":"), allow_nan=False)
