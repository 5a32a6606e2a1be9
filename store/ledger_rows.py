"""What goes into the ledger and comes out of it: requests, answers, claims and ends, and their form as rows of JSON."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from operator import itemgetter
from typing import Any
from uuid import UUID

from sqlalchemy import CursorResult, Row

from schemas.enums import ErrorCode, IndexAction, PredictionStatus, Priority
from schemas.messages import PredictionFinished

#: How long a younger, more urgent row may overtake this one: waiting longer beats any priority.
PRIORITY_DELAY_S = {Priority.INTERACTIVE: 0.0, Priority.NORMAL: 10.0, Priority.BULK: 600.0}

#: A tenant that sent too much is put back behind others by no more than this: it too goes on, if slowly.
MOST_LAG_S = 1800.0

# Of a row that was claimed: its order, and its id where that is equal.
_URGENCY = itemgetter(-1, 0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Submission:
    """A prediction to be made. One of `input` (JSON), `input_sha256` (a stored file) and `image_url` is set.

    `lag_s` puts it behind its time in the order of claims, so that tenants take turns.
    """

    id: UUID
    api_key_id: int
    model_id: int
    model_version_id: int
    reply_channel: str | None
    priority: Priority = Priority.NORMAL
    lag_s: float = 0.0
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
    webhook_id: UUID | None = None
    image_url: str | None = None


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

    Attributes:
        waited_s: Seconds since it could have been claimed.
        left_s: Seconds until its deadline, counted from the claim; None without one.
    """

    id: UUID
    fence: int
    model_version_id: int
    input: Any | None
    input_sha256: str | None
    waited_s: float = 0.0
    left_s: float | None = None


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


def read_claims(found: CursorResult[Any]) -> list[Claim]:
    """Read what a claim returned, the most urgent row first.

    By place, since a row looks each column up by its name, and a worker that is busy does nothing else so often.
    """
    rows: list[tuple[Any, ...]] = sorted(found.all(), key=_URGENCY)
    return [
        Claim(
            id=id_,
            fence=fence,
            model_version_id=model_version_id,
            input=given,
            input_sha256=input_sha256,
            waited_s=waited_s,
            left_s=left_s,
        )
        for id_, fence, model_version_id, given, input_sha256, waited_s, left_s, _ in rows
    ]


def read_finished(found: Iterable[Row[Any]]) -> list[Finished]:
    """Read what a statement returned that finishes rows."""
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


def submission_row(submission: Submission) -> dict[str, Any]:
    """Write a request as the statements take it."""
    return {
        "id": str(submission.id),
        "api_key_id": submission.api_key_id,
        "model_id": submission.model_id,
        "model_version_id": submission.model_version_id,
        "reply_channel": submission.reply_channel,
        "priority": submission.priority,
        "delay_s": PRIORITY_DELAY_S[submission.priority] + submission.lag_s,
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
        "webhook_id": None if submission.webhook_id is None else str(submission.webhook_id),
        "image_url": submission.image_url,
    }


def answer_row(answer: Answer) -> dict[str, Any]:
    """Write what is known of an answer, beside its request."""
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


def outcome_row(outcome: Outcome) -> dict[str, Any]:
    """Write the end of a claim."""
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
