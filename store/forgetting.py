"""Forgetting an item: all that is stored of it goes, and what has learned from it is named.

The rows go in one transaction. Files go right after it; which ones is kept in `forgotten_objects` until they are gone,
so that a process that dies in between, or an object store that is away, only delays it.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import Connection, Engine, Row, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from schemas.enums import DecisionAction
from store import feedback_sql, ledger, training_ledger
from store import forgetting_sql as sql
from store.decisions import record_decision
from store.errors import ObjectsUnavailableError, UnknownItemError
from store.feedback import FEEDBACK_LOCK_ID
from store.ledger_rows import Finished
from store.lineage import versions_that_saw
from store.objects import ObjectStore
from store.partitions import first_kept_id
from store.tables.model_version import ModelVersion
from store.training_ledger import CanceledTraining

log = structlog.get_logger()

#: Files of one transaction: it must not idle for long while the object store works.
OBJECTS_GROUP = 100

#: Feedback of one statement, when that on dropped predictions is removed.
FEEDBACK_GROUP = 10_000

#: How long a request looks for other uses of a file; the maintenance worker takes all the time that it needs.
REQUEST_PATIENCE = timedelta(seconds=2)
JOB_PATIENCE = timedelta(minutes=10)

#: Of a training that was cancelled; it does not say which.
REASON = "canceled: an item that it was learning from was forgotten; ask for the training again"


@dataclass(frozen=True, kw_only=True, slots=True)
class Forgotten:
    """What went with an item.

    Attributes:
        counts: By what it was, as `schemas.forgetting` tells it.
        versions: Those that had learned from it.
        trainings: Those that were learning from it, and are cancelled.
        canceled: Requests that were still open; publish them after the commit.
        answered: Pairs of tenant and model version whose remembered answers may be about it.
        digests: Files that may be removed, unless another row uses them.
    """

    counts: dict[str, int]
    versions: list[tuple[str, int]]
    trainings: list[CanceledTraining]
    canceled: list[Finished]
    answered: list[tuple[int, int]]
    digests: list[str]


@dataclass(slots=True)
class RemovedObjects:
    """What became of files: gone, still used by another row, or left for the maintenance worker."""

    removed: int = 0
    kept: int = 0
    pending: int = 0


def forget_item(session: Session, *, catalog: str, external_id: str, api_key_id: int | None, actor: str) -> Forgotten:
    """Forget an item of a tenant.

    Args:
        session: Its transaction; nothing is gone before it is committed.
        catalog: The item's.
        external_id: The item's.
        api_key_id: The tenant whose rows go; None for those of all.
        actor: Who asks for it, for the log of decisions, which does not say what was forgotten.

    Raises:
        UnknownItemError: The tenant has nothing about this item.
    """
    connection = session.connection()
    connection.execute(sql.PATIENCE)
    feedback_sql.LOCK_ALONE.run(connection, lock=FEEDBACK_LOCK_ID)
    item = connection.execute(sql.LOCK_ITEM, {"catalog": catalog, "external_id": external_id}).scalar_one_or_none()
    scope = {"item_id": item, "api_key_id": api_key_id}
    rows = connection.execute(sql.GATHER, scope).all()
    entries = connection.execute(sql.INDEXED, scope).all()
    if not rows and not entries:
        raise UnknownItemError(f"nothing is known of item {external_id!r} in catalog {catalog!r}")
    ids = [row.id for row in rows]
    # Before versions are looked for: what is registered meanwhile is among them.
    trainings = training_ledger.cancel_learning(connection, ids, reason=REASON)
    versions = versions_that_saw(session, ids)
    canceled = ledger.cancel_all(connection, ids)
    feedback = connection.execute(sql.FEEDBACK, {"ids": ids}).all()
    counts = _delete(connection, ids, [entry.id for entry in entries])
    connection.execute(sql.DELETE_ITEM, {"item_id": item})
    digests = _digests(rows, entries)
    connection.execute(sql.NOTE_OBJECTS, {"digests": digests})
    _decide(session, rows, entries, feedback, versions, trainings, actor)
    return Forgotten(
        counts=counts
        | {
            "canceled": len(canceled),
            "feedback_history": sum(row.revisions for row in feedback),
            "embeddings": sum(entry.places for entry in entries),
        },
        versions=[(version.model.name, version.number) for version in versions],
        trainings=trainings,
        canceled=canceled,
        answered=sorted({(row.api_key_id, row.model_version_id) for row in rows}),
        digests=digests,
    )


def remove_objects(
    database: Engine,
    objects: ObjectStore,
    digests: Sequence[str] | None = None,
    *,
    patience: timedelta = JOB_PATIENCE,
) -> RemovedObjects:
    """Remove files of forgotten items that no other row uses. From any number of processes.

    Args:
        database: Where the rows are.
        objects: Where the files are.
        digests: Which files; None for all that are left.
        patience: How long the search for other uses may take; what takes longer is left.
    """
    done = RemovedObjects()
    left = None if digests is None else list(digests)
    try:
        while left is None or left:
            taken = _remove_group(database, objects, left, patience, done)
            if not taken:
                break
            left = None if left is None else [digest for digest in left if digest not in taken]
    except (OperationalError, ObjectsUnavailableError) as error:
        # The search took too long, or the store is away: the rows are there for the next time.
        log.warning("objects_not_removed", error=str(error).partition("\n")[0])
    if digests is not None:
        done.pending = len(digests) - done.removed - done.kept
    return done


def drop_expired_feedback(connection: Connection) -> int:
    """Remove the feedback on predictions that are dropped already; returns how much."""
    least_id = first_kept_id(connection)
    if least_id is None:
        return 0
    removed = 0
    while True:
        count = connection.execute(sql.OLD_FEEDBACK, {"least_id": least_id, "limit": FEEDBACK_GROUP}).rowcount
        removed += count
        if count < FEEDBACK_GROUP:
            return removed


def _remove_group(
    database: Engine, objects: ObjectStore, digests: list[str] | None, patience: timedelta, done: RemovedObjects
) -> set[str]:
    """Remove one group; returns those that are dealt with."""
    with database.begin() as connection:
        asked = {"digests": digests, "limit": OBJECTS_GROUP}
        taken = list(connection.execute(sql.TAKE_OBJECTS, asked).scalars())
        if not taken:
            return set()
        used = _find_used(connection, taken, patience)
        for digest in taken:
            if digest not in used:
                objects.remove(digest)
        connection.execute(sql.DROP_OBJECTS, {"digests": taken})
    done.kept += len(used)
    done.removed += len(taken) - len(used)
    return set(taken)


def _find_used(connection: Connection, digests: list[str], patience: timedelta) -> set[str]:
    connection.execute(text(f"SET LOCAL statement_timeout = {round(patience.total_seconds() * 1000)}"))
    # Reading all is what is wanted here; by an index it would take longer.
    connection.execute(text("SET LOCAL enable_seqscan = on"))
    return set(connection.execute(sql.OBJECTS_IN_USE, {"digests": digests}).scalars())


def _delete(connection: Connection, ids: list[UUID], entries: list[int]) -> dict[str, int]:
    # Embeddings and the history of feedback go with what they belong to.
    connection.execute(sql.DELETE_REPLAYS, {"ids": ids})
    return {
        "index_entries": connection.execute(sql.DELETE_INDEXED, {"ids": entries}).rowcount,
        "feedback": connection.execute(sql.DELETE_FEEDBACK, {"ids": ids}).rowcount,
        "idempotency_keys": connection.execute(sql.DELETE_KEYS, {"ids": ids}).rowcount,
        "predictions": connection.execute(sql.DELETE_PREDICTIONS, {"ids": ids}).rowcount,
    }


def _digests(rows: Iterable[Row[Any]], entries: Iterable[Row[Any]]) -> list[str]:
    found = {row.input_sha256 for row in rows} | {row.mask for row in rows} | {entry.photo_sha256 for entry in entries}
    return sorted(digest for digest in found if digest is not None)


def _decide(
    session: Session,
    rows: Sequence[Row[Any]],
    entries: Sequence[Row[Any]],
    feedback: Sequence[Row[Any]],
    versions: Sequence[ModelVersion],
    trainings: Sequence[CanceledTraining],
    actor: str,
) -> None:
    """Record for each model how much it lost, and who had learned or was learning from it; not whose it was."""
    predictions, places = Counter(row.model_id for row in rows), Counter(entry.model_id for entry in entries)
    corrected = {row.model_id: row.feedback for row in feedback}
    learned = {
        model_id: [version.number for version in versions if version.model_id == model_id]
        for model_id in {version.model_id for version in versions}
    }
    learning = {training.model_id: [str(training.id)] for training in trainings}  # A model has one at a time.
    for model_id in sorted({*predictions, *places, *learned, *learning}):
        record_decision(
            session,
            model_id=model_id,
            action=DecisionAction.FORGET,
            actor=actor,
            reason="an item was forgotten; what had learned or was learning from it is in the figures",
            figures={
                "predictions": predictions[model_id],
                "feedback": corrected.get(model_id, 0),
                "index_entries": places[model_id],
                "versions": learned.get(model_id, []),
                "trainings": learning.get(model_id, []),
            },
        )
