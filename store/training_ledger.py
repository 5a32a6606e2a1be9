"""The ledger of trainings: the only SQL that moves one from state to state.

As in `store.ledger`: each function is one compare-and-set statement under the fence of a claim, all times are Postgres'
`now()`, and a trigger in the database refuses illegal edges, whatever code runs.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Connection

from schemas.enums import TrainingErrorCode
from store import training_ledger_sql as sql
from store.ledger import note_reaping

#: Claims in a row whose process died without a new checkpoint before the training fails with `worker_crash`.
MAX_CRASHES = 3

#: Past its deadline by so much, a training is ended by whoever sees it: its worker has not.
DEADLINE_GRACE_S = 30

#: What is kept of a log: its end.
MAX_LOG_CHARACTERS = 64 * 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingClaim:
    """A training that this worker now holds, under a fence that no later claim shares.

    Attributes:
        attempt: 1 for the first claim.
        left_s: Seconds until the time limit is over.
    """

    id: UUID
    fence: int
    model_id: int
    model: str
    attempt: int
    options: Mapping[str, Any]
    parent_version_id: int | None
    data_sha256: str | None
    manifest_sha256: str | None
    checkpoint_sha256: str | None
    left_s: float


@dataclass(frozen=True, kw_only=True, slots=True)
class TakenBack:
    """What a reaping changed."""

    queued: Sequence[UUID]
    failed: Sequence[UUID]


@dataclass(frozen=True, kw_only=True, slots=True)
class CanceledTraining:
    """A training that was cancelled before it made a version, and its model."""

    id: UUID
    model_id: int
    model: str


def claim_training(
    connection: Connection, *, worker_id: int, device: str, only: UUID | None = None
) -> TrainingClaim | None:
    """Take the oldest training that waits, or the one that is named.

    Args:
        connection: To write with.
        worker_id: The life that holds it from now on.
        device: Written into the row.
        only: No other than this.
    """
    values = {"worker": worker_id, "device": device, "only": only}
    row = connection.execute(sql.CLAIM, values).mappings().one_or_none()
    return None if row is None else TrainingClaim(**row)


def freeze(
    connection: Connection, claim: TrainingClaim, *, manifest_sha256: str, examples: Sequence[tuple[UUID, int]]
) -> bool:
    """Fix what a training learns from, once: its manifest, and a row for each prediction with its revision.

    Returns:
        False when the claim is no longer ours; nothing was written.
    """
    values = _held(claim) | {"manifest": manifest_sha256, "count": len(examples)}
    if connection.execute(sql.FREEZE, values).rowcount != 1:
        return False
    rows = [{"prediction_id": str(prediction_id), "revision": revision} for prediction_id, revision in examples]
    connection.execute(sql.ADD_EXAMPLES, {"id": claim.id, "rows": json.dumps(rows)})
    return True


def leave_out(
    connection: Connection, claim: TrainingClaim, *, manifest_sha256: str, prediction_ids: Sequence[UUID]
) -> bool:
    """Say that a training does not learn from these after all: its manifest without them, and no row for them.

    Returns:
        False when the claim is no longer ours; nothing was written.
    """
    values = {"manifest": manifest_sha256, "count": len(prediction_ids)}
    if connection.execute(sql.REPLACE_MANIFEST, _held(claim) | values).rowcount != 1:
        return False
    connection.execute(sql.REMOVE_EXAMPLES, {"id": claim.id, "ids": list(prediction_ids)})
    return True


def report(connection: Connection, claim: TrainingClaim, *, progress: Mapping[str, Any] | None, log: str) -> bool:
    """Tell how far a training is, and what its process said since.

    Returns:
        False when the claim is no longer ours: it was cancelled, or another worker has it.
    """
    values = {"progress": None if progress is None else json.dumps(progress), "log": log.replace("\0", "")}
    return connection.execute(sql.REPORT, _held(claim) | values | {"longest": MAX_LOG_CHARACTERS}).rowcount == 1


def save_checkpoint(
    connection: Connection, claim: TrainingClaim, *, digest: str, epoch: int
) -> tuple[bool, str | None]:
    """Say where a training goes on from if it is killed.

    Returns:
        Whether the claim is still ours, and the checkpoint before, which nobody needs any more.
    """
    row = connection.execute(sql.SAVE_CHECKPOINT, _held(claim) | {"digest": digest, "epoch": epoch}).one_or_none()
    return (False, None) if row is None else (True, row.before)


def succeed(connection: Connection, claim: TrainingClaim, *, version_id: int, metrics: Mapping[str, Any]) -> bool:
    """Finish a training with the version that came of it, in the transaction that registers it.

    Returns:
        False when the claim is no longer ours: roll back.
    """
    values = {"version": version_id, "metrics": json.dumps(metrics)}
    return connection.execute(sql.SUCCEED, _held(claim) | values).rowcount == 1


def fail(connection: Connection, claim: TrainingClaim, *, code: TrainingErrorCode, detail: str) -> bool:
    """Finish a training without a version. Returns False when the claim is no longer ours."""
    return connection.execute(sql.FAIL, _held(claim) | {"code": str(code), "detail": detail}).rowcount == 1


def release(connection: Connection, claim: TrainingClaim) -> bool:
    """Give a training back unfinished: the next worker goes on from its checkpoint."""
    return connection.execute(sql.RELEASE, _held(claim)).rowcount == 1


def crash(connection: Connection, claim: TrainingClaim, *, detail: str) -> bool:
    """Give a training back whose process died: it goes on from its checkpoint, or fails when that helps no more."""
    values = {"max_crashes": MAX_CRASHES, "detail": detail}
    return connection.execute(sql.CRASH, _held(claim) | values).rowcount == 1


def cancel(connection: Connection, training_id: UUID) -> bool:
    """Cancel a training that is not finished; its worker finds its fence stale and ends the process.

    Returns:
        False when it is finished already, or unknown.
    """
    return connection.execute(sql.CANCEL, {"id": training_id}).one_or_none() is not None


def cancel_learning(connection: Connection, prediction_ids: Sequence[UUID], *, reason: str) -> list[CanceledTraining]:
    """Cancel the trainings under way that learn from any of these predictions; each row and log says the reason.

    One that is just being registered is waited for: after this, either it is cancelled or its version is there.
    """
    ids = list(prediction_ids)
    connection.execute(sql.LOCK_LEARNING, {"ids": ids})
    rows = connection.execute(
        sql.CANCEL_LEARNING, {"ids": ids, "reason": reason, "longest": MAX_LOG_CHARACTERS}
    ).mappings()
    return sorted((CanceledTraining(**row) for row in rows), key=lambda training: training.id)


def reap(connection: Connection) -> TakenBack:
    """Take back the trainings of workers that are gone, and end those past their time limit."""
    lenient = note_reaping(connection)
    rows = connection.execute(
        sql.REAP, {"max_crashes": MAX_CRASHES, "grace": DEADLINE_GRACE_S, "lenient": lenient}
    ).all()
    return TakenBack(
        queued=[row.id for row in rows if row.status == "queued"],
        failed=[row.id for row in rows if row.status == "failed"],
    )


def stranded(connection: Connection) -> tuple[UUID, str] | None:
    """Find a training that waits although a worker is idle, with its model."""
    row = connection.execute(sql.STRANDED).one_or_none()
    return None if row is None else (row.id, row.model)


def _held(claim: TrainingClaim) -> dict[str, Any]:
    return {"id": claim.id, "fence": claim.fence}
