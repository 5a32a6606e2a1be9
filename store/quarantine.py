"""Devices that fail again and again: they are left alone rather than lent to the next process."""

from sqlalchemy import Connection, func, select, text

from schemas.enums import StopReason, WorkerRole
from store.tables.worker import Worker

#: So many failures of one device, within the time below, and no further process serves on it.
FAILURES = 3
WINDOW_S = 600.0

#: What counts: the process could not go on, and not because of one row.
REASONS = (StopReason.DEVICE_LOST, StopReason.OUT_OF_MEMORY, StopReason.HUNG)


def count_failures(connection: Connection, *, host: str, device: str) -> int:
    """Count how often a device failed lately, since somebody last stopped its worker on purpose.

    A life that could not say why it ended, because Postgres was away, does not count.
    """
    here = (Worker.host == host, Worker.device == device, Worker.role == str(WorkerRole.INFERENCE))
    drained = select(func.max(Worker.id)).where(*here, Worker.stop_reason == str(StopReason.DRAINED))
    statement = select(func.count()).where(
        *here,
        Worker.stop_reason.in_(REASONS),
        Worker.stopped_at > func.now() - text(f"interval '{WINDOW_S} seconds'"),
        Worker.id > func.coalesce(drained.scalar_subquery(), 0),
    )
    return connection.execute(statement).scalar_one()


def is_quarantined(connection: Connection, *, host: str, device: str) -> bool:
    """Whether a device may not serve."""
    return count_failures(connection, host=host, device=device) >= FAILURES
