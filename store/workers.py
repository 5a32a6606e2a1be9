"""Worker lives: register, renew the lease, end. One heartbeat row a process, not one lease a prediction."""

from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType

from sqlalchemy import ColumnElement, Connection, Text, cast, func, insert, select, text, update
from sqlalchemy.orm import Session

from schemas.enums import StopReason, WorkerRole, WorkerState
from store.rates import Rates, dump_rates
from store.tables.model import Model
from store.tables.model_version import ModelVersion
from store.tables.worker import Worker

#: How often a worker renews.
HEARTBEAT_S = 2.0

#: How long a renewal holds; four heartbeats, so that one lost packet ends nobody.
LEASE_S = 8.0

NO_RATES: Rates = {}
NO_FAILURES: Mapping[str, str | None] = MappingProxyType({})

LEASE_END = func.now() + text(f"interval '{LEASE_S} seconds'")


def register_worker(
    connection: Connection, *, name: str, role: WorkerRole, device: str, queue: str, host: str, pid: int
) -> int:
    """Begin a life. Returns its id, the epoch that claims carry."""
    values = {"name": name, "role": str(role), "device": device, "queue": queue, "host": host, "pid": pid}
    statement = insert(Worker).values(**values, lease_expires_at=LEASE_END, progress_at=func.now())
    return int(connection.execute(statement.returning(Worker.id)).scalar_one())


def renew_lease(
    connection: Connection,
    worker_id: int,
    models: Sequence[str],
    rates: Rates = NO_RATES,
    load_failures: Mapping[str, str | None] = NO_FAILURES,
    state: WorkerState = WorkerState.SERVING,
) -> bool:
    """Renew the lease of a life, and tell what it holds, how fast it is, what it could not load, and its state.

    Returns:
        False when it was ended meanwhile: the caller lost all it held and must begin a new life.
    """
    statement = (
        update(Worker)
        .where(Worker.id == worker_id, Worker.stopped_at.is_(None))
        .values(
            lease_expires_at=LEASE_END,
            progress_at=func.now(),
            models=list(models),
            rates=dump_rates(rates),
            load_failures=dict(load_failures),
            state=str(state),
        )
    )
    return connection.execute(statement).rowcount == 1


def end_worker(connection: Connection, worker_id: int, reason: StopReason) -> None:
    """End a life that holds nothing any more."""
    connection.execute(
        update(Worker)
        .where(Worker.id == worker_id, Worker.stopped_at.is_(None))
        .values(stopped_at=func.now(), stop_reason=str(reason))
    )


def is_live() -> ColumnElement[bool]:
    """Return the condition under which a worker's lease holds."""
    return Worker.stopped_at.is_(None) & (Worker.lease_expires_at > func.now())


def is_serving() -> ColumnElement[bool]:
    """Return the condition under which a worker takes up work: its lease holds, and nothing keeps it from serving."""
    return is_live() & (Worker.state == str(WorkerState.SERVING))


def live_workers(session: Session) -> Sequence[Worker]:
    """List the workers whose lease holds, by name."""
    return session.scalars(select(Worker).where(is_live()).order_by(Worker.name)).all()


def serving_workers(session: Session, role: WorkerRole) -> Sequence[Worker]:
    """List the workers of a role that take up work, by name."""
    return session.scalars(select(Worker).where(is_serving(), Worker.role == str(role)).order_by(Worker.name)).all()


def live_peers(session: Session, worker_id: int) -> Sequence[Worker]:
    """List the other inference workers that serve."""
    others = select(Worker).where(is_serving(), Worker.role == str(WorkerRole.INFERENCE), Worker.id != worker_id)
    return session.scalars(others).all()


def version_ids(session: Session, versions: Collection[str]) -> dict[str, int]:
    """Return the ids of model versions by `model/number`, as workers name what they hold."""
    name = Model.name + "/" + cast(ModelVersion.number, Text)
    found = session.execute(
        select(name, ModelVersion.id).join(Model, Model.id == ModelVersion.model_id).where(name.in_(versions))
    )
    return {row[0]: row[1] for row in found}
