"""The ledger: the only SQL that moves a prediction from state to state.

Each function is one compare-and-set statement over a group of rows, so that the cost of a commit is shared
and a crash between two statements cannot leave half a step. Callers hand in a connection; a single statement
needs no transaction of its own, so the hot callers use autocommit and save two round trips. All times are
Postgres' `now()`. A trigger in the database refuses illegal edges, whatever code runs.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import Connection, Row

from schemas.enums import ErrorCode, IndexAction, PredictionStatus, Priority
from schemas.messages import PredictionFinished
from store import ledger_sql as sql
from store.queue_span import queue_span

#: Claims of one row before it fails with `attempts_exhausted`.
MAX_ATTEMPTS = 3

#: Claims that ended with the process dead before the row fails with `worker_crash`.
MAX_CRASHES = 2

#: Bytes of files in one claim, where the version's own `max_batch_cost` does not say: a full batch of photos as a web
#: shop has them stays far below, and of the largest that are accepted five fit.
MAX_CLAIM_BYTES = 64 * 1024 * 1024

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
    index_action: IndexAction | None = None
    deadline_ms: int | None = None
    idempotency_key: str | None = None
    request_sha256: str | None = None
    shadow_of: UUID | None = None
    assignment_probability: float | None = None
    backtest_id: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What is known of a prediction before it is stored: from memory, or computed in the process that accepts it.

    Attributes:
        result: What the model says; None when it failed.
        elapsed_ms: From acceptance until now, milliseconds.
        device: Where it was computed; None for an answer from memory.
        cached: Whether it is the answer of an earlier prediction.
    """

    elapsed_ms: float
    result: dict[str, Any] | None = None
    error_code: ErrorCode | None = None
    error_detail: str | None = None
    device: str | None = None
    decode_ms: float | None = None
    compute_ms: float | None = None
    cached: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """A row that this worker now holds, under a fence that no later claim shares.

    `waited_s` is the time since it could have been claimed.
    """

    id: UUID
    fence: int
    model_version_id: int
    input: Any | None
    input_sha256: str | None
    waited_s: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class ClaimRule:
    """What a slower device leaves to faster ones, of the model version with the id `version`.

    Attributes:
        version: Its id.
        skip: So many of its most urgent rows are not claimed.
        patience: Seconds; once the most urgent has waited so long, none is left.
        most: Rows in one claim.
    """

    version: int
    skip: int
    patience: float
    most: int


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
    statement = sql.SUBMIT_PLAIN if _are_plain(rows) else sql.SUBMIT
    return {row.id: row.created_at for row in statement.run(connection, rows=_dump(rows))}


def record(connection: Connection, group: Sequence[tuple[Submission, Answer]]) -> dict[UUID, PredictionFinished]:
    """Store a group of predictions that are answered already, in one statement.

    Returns:
        What became of each, by id. An id that is missing was a repeat, as with `submit`.
    """
    rows = [_submission_row(submission) | _answer_row(answer) for submission, answer in group]
    statement = sql.RECORD_PLAIN if _are_plain(rows) else sql.RECORD
    stored = {row.id: row for row in statement.run(connection, rows=_dump(rows))}
    return {
        submission.id: finished_event(submission.id, answer, row.created_at, row.finished_at)
        for submission, answer in group
        if (row := stored.get(submission.id)) is not None
    }


def finished_event(
    prediction_id: UUID, answer: Answer, created_at: datetime, finished_at: datetime
) -> PredictionFinished:
    """Tell of a prediction that was answered before it was stored. Nothing that came from memory was started."""
    created = created_at.isoformat()
    return PredictionFinished(
        id=str(prediction_id),
        status=_status(answer.error_code),
        attempt=0 if answer.cached else 1,
        result=answer.result,
        error_code=answer.error_code,
        error_detail=answer.error_detail,
        created_at=created,
        started_at=None if answer.cached else created,
        finished_at=finished_at.isoformat(),
        decode_ms=answer.decode_ms,
        compute_ms=answer.compute_ms,
        device=answer.device,
        cached=answer.cached,
    )


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
    since, until = queue_span(connection)
    parameters = {
        "worker": worker_id,
        "device": device,
        "limit": limit,
        "max_cost": max_cost,
        "skip": list(skip),
        "budget": ATTEMPT_BUDGET_S,
        "since": since,
        "until": until,
    }
    if rules:
        found = sql.CLAIM_BEHIND.run(connection, rules=_dump([asdict(rule) for rule in rules]), **parameters)
    else:
        found = sql.CLAIM.run(connection, **parameters)
    rows = sorted(found, key=lambda row: (row.claim_order, row.id))
    return [
        Claim(
            id=row.id,
            fence=row.fence,
            model_version_id=row.model_version_id,
            input=row.input,
            input_sha256=row.input_sha256,
            waited_s=row.waited_s,
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


def cancel_backtest(connection: Connection, backtest_id: int) -> list[Finished]:
    """Cancel the open replays of a backtest, as `cancel` does."""
    return _finished(sql.CANCEL_BACKTEST.run(connection, backtest_id=backtest_id))


def cancel_all(connection: Connection, ids: Sequence[UUID]) -> list[Finished]:
    """Cancel those of many rows that are open, as `cancel` does."""
    return _finished(sql.CANCEL_ALL.run(connection, ids=list(ids)))


def cancel_puts(connection: Connection, *, api_key_id: int, model_id: int, item_id: int) -> list[Finished]:
    """Cancel the open requests that would put an item into a model's index: it is to be removed."""
    return _finished(sql.CANCEL_PUTS.run(connection, api_key_id=api_key_id, model_id=model_id, item_id=item_id))


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
                cached=row.cached,
                worker_id=row.worker_id,
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
        "index_action": submission.index_action,
        "deadline_ms": submission.deadline_ms,
        "idempotency_key": submission.idempotency_key,
        "request_sha256": submission.request_sha256,
        "shadow_of": None if submission.shadow_of is None else str(submission.shadow_of),
        "assignment_probability": submission.assignment_probability,
        "backtest_id": submission.backtest_id,
    }


def _are_plain(rows: Sequence[dict[str, Any]]) -> bool:
    """Items and idempotency keys cost two more writes; the statement without them is the hot path."""
    return all(row["catalog"] is None and row["idempotency_key"] is None for row in rows)


def _answer_row(answer: Answer) -> dict[str, Any]:
    return {
        "status": _status(answer.error_code),
        "result": answer.result,
        "error_code": answer.error_code,
        "error_detail": answer.error_detail,
        "attempt": 0 if answer.cached else 1,
        "device": answer.device,
        "decode_ms": answer.decode_ms,
        "compute_ms": answer.compute_ms,
        "elapsed_ms": answer.elapsed_ms,
        "cached": answer.cached,
    }


def _status(error_code: ErrorCode | None) -> PredictionStatus:
    return PredictionStatus.SUCCEEDED if error_code is None else PredictionStatus.FAILED


def _outcome_row(outcome: Outcome) -> dict[str, Any]:
    return {
        "id": str(outcome.claim.id),
        "fence": outcome.claim.fence,
        "status": _status(outcome.error_code),
        "result": outcome.result,
        "error_code": outcome.error_code,
        "error_detail": outcome.error_detail,
        "decode_ms": outcome.decode_ms,
        "compute_ms": outcome.compute_ms,
    }


def _dump(rows: list[dict[str, Any]]) -> str:
    return orjson.dumps(rows).decode()
