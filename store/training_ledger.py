"""The ledger of trainings: the only SQL that moves one from state to state.

As in `store.ledger`: each function is one compare-and-set statement under the fence of a claim, all times are Postgres'
`now()`, and a trigger in the database refuses illegal edges, whatever code runs.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, text

from schemas.enums import TrainingErrorCode
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


CLAIM = text("""
    WITH head AS (
        SELECT id FROM trainings WHERE status = 'queued' AND (CAST(:only AS uuid) IS NULL OR id = :only)
        ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED)
    UPDATE trainings t
    SET status = 'processing', attempt = attempt + 1, fence = nextval('training_fence'), worker_id = :worker,
        device = :device, started_at = coalesce(started_at, now()),
        deadline_at = coalesce(deadline_at, now() + time_limit_s * interval '1 second')
    FROM head, models m WHERE t.id = head.id AND m.id = t.model_id
    RETURNING t.id, t.fence, t.model_id, m.name AS model, t.attempt, t.options, t.parent_version_id, t.data_sha256,
        t.manifest_sha256, t.checkpoint_sha256,
        CAST(extract(epoch FROM t.deadline_at - now()) AS double precision) AS left_s
""")

HELD = "id = :id AND fence = :fence AND status = 'processing'"

FREEZE = text(f"""
    UPDATE trainings SET manifest_sha256 = :manifest, example_count = :count WHERE {HELD} AND manifest_sha256 IS NULL
""")

ADD_EXAMPLES = text("""
    INSERT INTO training_examples (training_id, prediction_id, revision)
    SELECT :id, r.prediction_id, r.revision
    FROM json_to_recordset(CAST(:rows AS json)) AS r(prediction_id uuid, revision integer)
""")

REPORT = text(f"""
    UPDATE trainings SET progress = coalesce(CAST(:progress AS jsonb), progress), log = right(log || :log, :longest)
    WHERE {HELD}
""")

SAVE_CHECKPOINT = text(f"""
    UPDATE trainings t SET checkpoint_sha256 = :digest, checkpoint_epoch = :epoch, crash_count = 0
    FROM (SELECT id, checkpoint_sha256 AS before FROM trainings WHERE {HELD} FOR UPDATE) b
    WHERE t.id = b.id RETURNING b.before
""")

SUCCEED = text(f"""
    UPDATE trainings SET status = 'succeeded', model_version_id = :version, metrics = CAST(:metrics AS jsonb),
        finished_at = now() WHERE {HELD}
""")

FAIL = text(f"""
    UPDATE trainings SET status = 'failed', error_code = :code, error_detail = :detail, finished_at = now()
    WHERE {HELD}
""")

RELEASE = text(f"""
    UPDATE trainings SET status = 'queued', worker_id = NULL WHERE {HELD}
""")

CRASH = text(f"""
    UPDATE trainings SET crash_count = crash_count + 1,
        status = CASE WHEN crash_count + 1 >= :max_crashes THEN 'failed' ELSE 'queued' END,
        error_code = CASE WHEN crash_count + 1 >= :max_crashes THEN 'worker_crash' END,
        error_detail = CASE WHEN crash_count + 1 >= :max_crashes THEN :detail END,
        finished_at = CASE WHEN crash_count + 1 >= :max_crashes THEN now() END
    WHERE {HELD}
""")

CANCEL = text("""
    UPDATE trainings SET status = 'canceled', finished_at = now()
    WHERE id = :id AND status IN ('queued', 'processing') RETURNING id
""")

LEARNING = """
    t.status IN ('queued', 'processing') AND EXISTS (
        SELECT FROM training_examples e WHERE e.training_id = t.id AND e.prediction_id = ANY(CAST(:ids AS uuid[])))
"""

# Who registers a version locks its model before its training; the other way round both would wait for each other.
LOCK_LEARNING = text(f"""
    SELECT id FROM models WHERE id IN (SELECT t.model_id FROM trainings t WHERE {LEARNING})
    ORDER BY id FOR NO KEY UPDATE
""")

CANCEL_LEARNING = text(f"""
    UPDATE trainings t SET status = 'canceled', error_detail = :reason, finished_at = now(),
        log = right(t.log || CAST(:reason AS text) || chr(10), :longest)
    FROM models m WHERE m.id = t.model_id AND {LEARNING} RETURNING t.id, t.model_id, m.name AS model
""")

# Of workers that are gone: back into the queue, or failed when it keeps killing its process. Past the deadline nobody
# needs to be gone.
REAP = text("""
    UPDATE trainings t
    SET crash_count = t.crash_count + CAST(lost AS integer),
        status = CASE WHEN late OR t.crash_count + 1 >= :max_crashes THEN 'failed' ELSE 'queued' END,
        error_code = CASE WHEN late THEN 'time_limit' WHEN t.crash_count + 1 >= :max_crashes THEN 'worker_crash' END,
        error_detail = CASE
            WHEN late THEN 'the time limit of ' || t.time_limit_s || ' s is over'
            WHEN t.crash_count + 1 >= :max_crashes
                THEN 'its process died ' || :max_crashes || ' times without coming a checkpoint further' END,
        finished_at = CASE WHEN late OR t.crash_count + 1 >= :max_crashes THEN now() END
    FROM (
        SELECT t.id, t.deadline_at + :grace * interval '1 second' < now() AS late,
            w.id IS NULL OR w.stopped_at IS NOT NULL
                OR (w.lease_expires_at < now() AND NOT CAST(:lenient AS boolean)) AS lost
        FROM trainings t LEFT JOIN workers w ON w.id = t.worker_id
        WHERE t.status = 'processing' FOR UPDATE OF t SKIP LOCKED) h
    WHERE t.id = h.id AND (h.late OR h.lost)
    RETURNING t.id, t.status
""")

# A training that waits beside a worker that has nothing to do was not heard.
STRANDED = text("""
    SELECT t.id, m.name AS model FROM trainings t JOIN models m ON m.id = t.model_id
    WHERE t.status = 'queued' AND (
        SELECT count(*) FROM workers WHERE role = 'training' AND stopped_at IS NULL AND lease_expires_at > now()
    ) > (SELECT count(*) FROM trainings WHERE status = 'processing')
    ORDER BY t.id LIMIT 1
""")


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
    row = connection.execute(CLAIM, values).mappings().one_or_none()
    return None if row is None else TrainingClaim(**row)


def freeze(
    connection: Connection, claim: TrainingClaim, *, manifest_sha256: str, examples: Sequence[tuple[UUID, int]]
) -> bool:
    """Fix what a training learns from, once: its manifest, and a row for each prediction with its revision.

    Returns:
        False when the claim is no longer ours; nothing was written.
    """
    values = _held(claim) | {"manifest": manifest_sha256, "count": len(examples)}
    if connection.execute(FREEZE, values).rowcount != 1:
        return False
    rows = [{"prediction_id": str(prediction_id), "revision": revision} for prediction_id, revision in examples]
    connection.execute(ADD_EXAMPLES, {"id": claim.id, "rows": json.dumps(rows)})
    return True


def report(connection: Connection, claim: TrainingClaim, *, progress: Mapping[str, Any] | None, log: str) -> bool:
    """Tell how far a training is, and what its process said since.

    Returns:
        False when the claim is no longer ours: it was cancelled, or another worker has it.
    """
    values = {"progress": None if progress is None else json.dumps(progress), "log": log.replace("\0", "")}
    return connection.execute(REPORT, _held(claim) | values | {"longest": MAX_LOG_CHARACTERS}).rowcount == 1


def save_checkpoint(
    connection: Connection, claim: TrainingClaim, *, digest: str, epoch: int
) -> tuple[bool, str | None]:
    """Say where a training goes on from if it is killed.

    Returns:
        Whether the claim is still ours, and the checkpoint before, which nobody needs any more.
    """
    row = connection.execute(SAVE_CHECKPOINT, _held(claim) | {"digest": digest, "epoch": epoch}).one_or_none()
    return (False, None) if row is None else (True, row.before)


def succeed(connection: Connection, claim: TrainingClaim, *, version_id: int, metrics: Mapping[str, Any]) -> bool:
    """Finish a training with the version that came of it, in the transaction that registers it.

    Returns:
        False when the claim is no longer ours: roll back.
    """
    values = {"version": version_id, "metrics": json.dumps(metrics)}
    return connection.execute(SUCCEED, _held(claim) | values).rowcount == 1


def fail(connection: Connection, claim: TrainingClaim, *, code: TrainingErrorCode, detail: str) -> bool:
    """Finish a training without a version. Returns False when the claim is no longer ours."""
    return connection.execute(FAIL, _held(claim) | {"code": str(code), "detail": detail}).rowcount == 1


def release(connection: Connection, claim: TrainingClaim) -> bool:
    """Give a training back unfinished: the next worker goes on from its checkpoint."""
    return connection.execute(RELEASE, _held(claim)).rowcount == 1


def crash(connection: Connection, claim: TrainingClaim, *, detail: str) -> bool:
    """Give a training back whose process died: it goes on from its checkpoint, or fails when that helps no more."""
    values = {"max_crashes": MAX_CRASHES, "detail": detail}
    return connection.execute(CRASH, _held(claim) | values).rowcount == 1


def cancel(connection: Connection, training_id: UUID) -> bool:
    """Cancel a training that is not finished; its worker finds its fence stale and ends the process.

    Returns:
        False when it is finished already, or unknown.
    """
    return connection.execute(CANCEL, {"id": training_id}).one_or_none() is not None


def cancel_learning(connection: Connection, prediction_ids: Sequence[UUID], *, reason: str) -> list[CanceledTraining]:
    """Cancel the trainings under way that learn from any of these predictions; each row and log says the reason.

    One that is just being registered is waited for: after this, either it is cancelled or its version is there.
    """
    ids = list(prediction_ids)
    connection.execute(LOCK_LEARNING, {"ids": ids})
    rows = connection.execute(CANCEL_LEARNING, {"ids": ids, "reason": reason, "longest": MAX_LOG_CHARACTERS}).mappings()
    return sorted((CanceledTraining(**row) for row in rows), key=lambda training: training.id)


def reap(connection: Connection) -> TakenBack:
    """Take back the trainings of workers that are gone, and end those past their time limit."""
    lenient = note_reaping(connection)
    rows = connection.execute(REAP, {"max_crashes": MAX_CRASHES, "grace": DEADLINE_GRACE_S, "lenient": lenient}).all()
    return TakenBack(
        queued=[row.id for row in rows if row.status == "queued"],
        failed=[row.id for row in rows if row.status == "failed"],
    )


def stranded(connection: Connection) -> tuple[UUID, str] | None:
    """Find a training that waits although a worker is idle, with its model."""
    row = connection.execute(STRANDED).one_or_none()
    return None if row is None else (row.id, row.model)


def _held(claim: TrainingClaim) -> dict[str, Any]:
    return {"id": claim.id, "fence": claim.fence}
