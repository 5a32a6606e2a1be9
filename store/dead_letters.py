"""Dead letters: what ended because its workers failed, not because of what was asked; and asking it again.

A terminal state stays. Asking again makes a new prediction of the same input under the same key, once for each dead
letter, however often and by how many at once it is asked for.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import Connection, Row, text
from uuid_utils.compat import uuid7

from schemas.enums import ErrorCode, Priority
from store.ledger_rows import PRIORITY_DELAY_S
from store.partitions import least_id

#: Why a prediction counts as dead: nobody ever said that its input is bad.
DEAD_CODES = (ErrorCode.ATTEMPTS_EXHAUSTED, ErrorCode.WORKER_CRASH)

# Shadows and rows of backtests answer nobody: how they fail belongs to what they are compared for. The codes are in the
# text, since the plan must know them to use the index of such endings.
DEAD = """p.error_code IN ('attempts_exhausted', 'worker_crash') AND p.shadow_of IS NULL AND p.backtest_id IS NULL
            AND (CAST(:api_key_id AS bigint) IS NULL OR p.api_key_id = :api_key_id)
            AND (CAST(:model AS text) IS NULL OR p.model_id = (SELECT id FROM models WHERE name = :model))
            AND (CAST(:since AS uuid) IS NULL OR p.id >= CAST(:since AS uuid))
            AND (CAST(:before AS uuid) IS NULL OR p.id < CAST(:before AS uuid))"""

# Trainings belong to no key; like everywhere, whoever may read sees them all.
LIST = text(f"""
    SELECT d.kind, d.id, m.name AS model, v.number AS version, d.reason, d.detail, d.attempts, d.crashes,
        w.name AS worker, d.device, d.created_at, d.finished_at, d.redriven_as
    FROM (
        (SELECT 'prediction' AS kind, p.id, p.model_id, p.model_version_id, p.error_code AS reason,
            p.error_detail AS detail, p.attempt AS attempts, p.crash_count AS crashes, p.worker_id, p.device,
            p.created_at, p.finished_at, r.redrive_id AS redriven_as
        FROM predictions p LEFT JOIN redrives r ON r.prediction_id = p.id
        WHERE {DEAD}
        ORDER BY p.id DESC LIMIT :limit)
        UNION ALL
        (SELECT 'training', p.id, p.model_id, p.model_version_id, p.error_code, p.error_detail, p.attempt,
            p.crash_count, p.worker_id, p.device, p.created_at, p.finished_at, NULL
        FROM trainings p
        WHERE p.error_code = 'worker_crash'
            AND (CAST(:model AS text) IS NULL OR p.model_id = (SELECT id FROM models WHERE name = :model))
            AND (CAST(:before AS uuid) IS NULL OR p.id < CAST(:before AS uuid))
        ORDER BY p.id DESC LIMIT :limit)
    ) d
    JOIN models m ON m.id = d.model_id
    LEFT JOIN model_versions v ON v.id = d.model_version_id
    LEFT JOIN workers w ON w.id = d.worker_id
    ORDER BY d.id DESC LIMIT :limit
""")

# Oldest first, as they would have been answered; those that were asked again already are passed over.
FIND = text(f"""
    SELECT p.id FROM predictions p
    WHERE {DEAD} AND NOT EXISTS (SELECT 1 FROM redrives r WHERE r.prediction_id = p.id)
    ORDER BY p.id LIMIT :limit
""")

# The key of `redrives` makes of any number of requests for one dead letter one prediction. Whoever finds the key taken
# by a transaction that is not committed yet waits for it.
REDRIVE = text(f"""
    WITH asked AS (
        SELECT * FROM json_to_recordset(CAST(:rows AS json)) AS r(id uuid, redrive_id uuid)),
    dead AS (
        SELECT p.*, a.redrive_id FROM predictions p JOIN asked a ON a.id = p.id
        WHERE p.id BETWEEN CAST(:least AS uuid) AND CAST(:greatest AS uuid) AND {DEAD}),
    fresh AS (
        INSERT INTO redrives (prediction_id, redrive_id) SELECT id, redrive_id FROM dead ORDER BY id
        ON CONFLICT (prediction_id) DO NOTHING
        RETURNING prediction_id)
    INSERT INTO predictions (
        id, api_key_id, model_id, model_version_id, item_id, status, priority, input, input_sha256, input_bytes,
        index_action, claim_order, run_after, redrive_of)
    SELECT d.redrive_id, d.api_key_id, d.model_id, d.model_version_id, d.item_id, 'queued',
        coalesce(CAST(:priority AS text), d.priority), d.input, d.input_sha256, d.input_bytes, d.index_action,
        now() + CAST(CAST(:delays AS jsonb) ->> coalesce(CAST(:priority AS text), d.priority) AS double precision)
            * interval '1 second',
        now(), d.id
    FROM dead d JOIN fresh f ON f.prediction_id = d.id
    RETURNING id, redrive_of
""")

COUNT = text(f"""
    SELECT m.name AS model, d.reason, d.count FROM (
        SELECT p.model_id, p.error_code AS reason, count(*) AS count FROM predictions p
        WHERE {DEAD} AND NOT EXISTS (SELECT 1 FROM redrives r WHERE r.prediction_id = p.id)
        GROUP BY p.model_id, p.error_code) d
    JOIN models m ON m.id = d.model_id ORDER BY 1, 2
""")

FIND_REDRIVE = text("SELECT redrive_id FROM redrives WHERE prediction_id = :id")


@dataclass(frozen=True, kw_only=True, slots=True)
class DeadLetter:
    """A prediction or a training that ended because its workers failed.

    Attributes:
        kind: `prediction` or `training`.
        version: None for a training, which made none.
        reason: Its error code.
        worker: Name of the one that held it last; None where that is forgotten.
        redriven_as: The prediction that asks the same again; None while nobody has asked for one.
    """

    kind: str
    id: UUID
    model: str
    version: int | None
    reason: str
    detail: str | None
    attempts: int
    crashes: int
    worker: str | None
    device: str | None
    created_at: datetime
    finished_at: datetime
    redriven_as: UUID | None


def list_dead_letters(
    connection: Connection, *, api_key_id: int | None, model: str | None, before: UUID | None, limit: int
) -> list[DeadLetter]:
    """List dead letters, newest first.

    Args:
        connection: To read with.
        api_key_id: The tenant whose predictions are listed; None for all. Trainings have none.
        model: Only those of this model.
        before: Only older ones than this id: the cursor.
        limit: At most so many.
    """
    values = {"api_key_id": api_key_id, "model": model, "since": None, "before": before, "limit": limit}
    return [DeadLetter(**row) for row in connection.execute(LIST, values).mappings()]


def count_dead_letters(connection: Connection) -> Sequence[Row[Any]]:
    """Count the predictions that nobody has asked again, as (model, reason, count)."""
    values = {"api_key_id": None, "model": None, "since": None, "before": None}
    return connection.execute(COUNT, values).all()


def redrive(connection: Connection, prediction_id: UUID, *, api_key_id: int | None) -> UUID | None:
    """Ask a dead letter again, at its own priority; the second time it is found to be asked already.

    Returns:
        The id of the prediction that asks again; None when this one is no dead letter of the tenant.
    """
    made = _redrive(connection, [prediction_id], api_key_id=api_key_id, priority=None)
    if made:
        return made[prediction_id]
    found: UUID | None = connection.execute(FIND_REDRIVE, {"id": prediction_id}).scalar_one_or_none()
    return found


def redrive_all(
    connection: Connection,
    *,
    api_key_id: int | None,
    model: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    limit: int,
) -> dict[UUID, UUID]:
    """Ask many dead letters again, the oldest first, at bulk priority: what clients wait for goes before.

    Args:
        connection: Within a transaction.
        api_key_id: The tenant; None for all. Each new prediction is that of the old one's tenant.
        model: Only those of this model.
        since: Only those accepted at this time or later.
        until: Only those accepted before it.
        limit: At most so many.

    Returns:
        The new prediction by the dead letter. Those that were asked again before are not among them.
    """
    values = {
        "api_key_id": api_key_id,
        "model": model,
        "since": None if since is None else least_id(since),
        "before": None if until is None else least_id(until),
        "limit": limit,
    }
    found = connection.execute(FIND, values).scalars().all()
    return _redrive(connection, found, api_key_id=api_key_id, priority=Priority.BULK) if found else {}


def _redrive(
    connection: Connection, ids: Sequence[UUID], *, api_key_id: int | None, priority: Priority | None
) -> dict[UUID, UUID]:
    values: dict[str, Any] = {
        "rows": orjson.dumps([{"id": str(each), "redrive_id": str(uuid7())} for each in ids]).decode(),
        "least": min(ids),
        "greatest": max(ids),
        "delays": orjson.dumps({str(each): delay_s for each, delay_s in PRIORITY_DELAY_S.items()}).decode(),
        "priority": None if priority is None else str(priority),
        "api_key_id": api_key_id,
        "model": None,
        "since": None,
        "before": None,
    }
    return {row.redrive_of: row.id for row in connection.execute(REDRIVE, values)}
