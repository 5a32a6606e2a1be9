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
from sqlalchemy import Connection, Row
from uuid_utils.compat import uuid7

from schemas.enums import Priority
from store import dead_letters_sql as sql
from store.ledger_rows import PRIORITY_DELAY_S
from store.partitions import least_id


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
    return [DeadLetter(**row) for row in connection.execute(sql.LIST, values).mappings()]


def count_dead_letters(connection: Connection) -> Sequence[Row[Any]]:
    """Count the predictions that nobody has asked again, as (model, reason, letters)."""
    values = {"api_key_id": None, "model": None, "since": None, "before": None}
    return connection.execute(sql.COUNT, values).all()


def redrive(connection: Connection, prediction_id: UUID, *, api_key_id: int | None) -> UUID | None:
    """Ask a dead letter again, at its own priority; the second time it is found to be asked already.

    Returns:
        The id of the prediction that asks again; None when this one is no dead letter of the tenant.
    """
    made = _redrive(connection, [prediction_id], api_key_id=api_key_id, priority=None)
    if made:
        return made[prediction_id]
    found: UUID | None = connection.execute(sql.FIND_REDRIVE, {"id": prediction_id}).scalar_one_or_none()
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
    found = connection.execute(sql.FIND, values).scalars().all()
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
    return {row.redrive_of: row.id for row in connection.execute(sql.REDRIVE, values)}
