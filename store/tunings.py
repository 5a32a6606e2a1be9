"""What was measured of versions on kinds of devices, and of process layouts on kinds of machines."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, func, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session, aliased

from schemas.enums import PredictionStatus
from store.tables.model_version import ModelVersion
from store.tables.prediction import Prediction
from store.tables.process_layout import ProcessLayout
from store.tables.tuning import Tuning

# Class of advisory locks under which one process at a time measures a version; the version's id is the other half.
TUNING_LOCK_CLASS = 7_208_004

#: Of a configuration: what decides how fast a network runs, whatever its weights.
NETWORK_PARTS = ("kind", "arch", "arch_options", "format", "input", "max_batch", "tuning")

#: The keys of advisory locks are 32 bits wide.
LOCK_KEYS = 2**31


def find_tuning(session: Session, model_version_id: int, *, device_kind: str, torch_version: str) -> Tuning | None:
    """Return the stored measurement of a version on a kind of device."""
    return session.scalar(
        select(Tuning).where(
            Tuning.model_version_id == model_version_id,
            Tuning.device_kind == device_kind,
            Tuning.torch_version == torch_version,
        )
    )


def find_sibling_tuning(
    session: Session, model_version_id: int, *, device_kind: str, torch_version: str
) -> Tuning | None:
    """Return the measurement of the newest other version that is the same network with other weights."""
    mine, other = aliased(ModelVersion), aliased(ModelVersion)
    same = [mine.config[part].is_not_distinct_from(other.config[part]) for part in NETWORK_PARTS]
    return session.scalar(
        select(Tuning)
        .join(other, other.id == Tuning.model_version_id)
        .join(mine, (mine.model_id == other.model_id) & (mine.id != other.id))
        .where(
            mine.id == model_version_id,
            Tuning.device_kind == device_kind,
            Tuning.torch_version == torch_version,
            *same,
        )
        .order_by(other.number.desc())
        .limit(1)
    )


def store_tuning(
    session: Session,
    model_version_id: int,
    *,
    device_kind: str,
    torch_version: str,
    choice: Mapping[str, Any],
    figures: Mapping[str, Any],
    complete: bool,
) -> Tuning:
    """Store a measurement in place of an earlier one."""
    found = {"choice": dict(choice), "figures": dict(figures), "complete": complete, "created_at": func.now()}
    key = {"model_version_id": model_version_id, "device_kind": device_kind, "torch_version": torch_version}
    statement = insert(Tuning).values(**key, **found).on_conflict_do_update(index_elements=list(key), set_=found)
    options = {"populate_existing": True}
    return session.scalars(statement.returning(Tuning), execution_options=options).one()


def present_tuning(row: Tuning) -> dict[str, Any]:
    """Show a measurement as the API and the command line do."""
    return {
        "device_kind": row.device_kind,
        "torch_version": row.torch_version,
        "complete": row.complete,
        "choice": row.choice,
        **row.figures,
        "created_at": row.created_at,
    }


def try_lock_tuning(connection: Connection, model_version_id: int) -> bool:
    """Become the one process that measures a version, until the connection is closed or `unlock_tuning` is called."""
    statement = text("SELECT pg_try_advisory_lock(:class, :key)")
    return bool(connection.execute(statement, _lock_key(model_version_id)).scalar_one())


def unlock_tuning(connection: Connection, model_version_id: int) -> None:
    """Let another process measure."""
    connection.execute(text("SELECT pg_advisory_unlock(:class, :key)"), _lock_key(model_version_id))


def recent_inputs(session: Session, model_id: int, limit: int) -> Sequence[tuple[Any, str | None]]:
    """Return the newest inputs that a model answered: JSON, or the SHA-256 of a stored file."""
    statement = (
        select(Prediction.input, Prediction.input_sha256)
        .where(Prediction.model_id == model_id, Prediction.status == str(PredictionStatus.SUCCEEDED))
        .order_by(Prediction.id.desc())
        .limit(limit)
    )
    return [(row.input, row.input_sha256) for row in session.execute(statement)]


def find_layout(session: Session, *, host_kind: str, torch_version: str) -> ProcessLayout | None:
    """Return the stored measurement of a kind of machine."""
    return session.scalar(
        select(ProcessLayout).where(ProcessLayout.host_kind == host_kind, ProcessLayout.torch_version == torch_version)
    )


def store_layout(
    session: Session, *, host_kind: str, torch_version: str, processes: int, threads: int, figures: Mapping[str, Any]
) -> None:
    """Store a measurement in place of an earlier one."""
    key = {"host_kind": host_kind, "torch_version": torch_version}
    found = {"processes": processes, "threads": threads, "figures": dict(figures), "created_at": func.now()}
    statement = insert(ProcessLayout).values(**key, **found)
    session.execute(statement.on_conflict_do_update(index_elements=list(key), set_=found))


def _lock_key(model_version_id: int) -> dict[str, int]:
    return {"class": TUNING_LOCK_CLASS, "key": model_version_id % LOCK_KEYS}
