"""Which versions the workers shall hold before a request asks for them, and what the workers say of one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, Text, and_, any_, cast, false, func, literal, or_, select
from sqlalchemy.orm import Session

from schemas.enums import StopReason, WorkerRole
from store.tables.model import Model
from store.tables.model_version import ModelVersion
from store.tables.traffic import Traffic
from store.tables.worker import Worker
from store.workers import is_serving

#: Ends of a worker's life that it did not choose.
CRASHES = (
    StopReason.DIED,
    StopReason.LEASE_EXPIRED,
    StopReason.DEVICE_LOST,
    StopReason.OUT_OF_MEMORY,
    StopReason.HUNG,
)

#: What a failure says of each worker, at most so many.
MOST_REASONS = 3


@dataclass(frozen=True, slots=True)
class Wanted:
    """A version that workers shall hold."""

    version_id: int
    key: str
    """As workers name what they hold: `name/version`."""
    upcoming: bool
    """Whether it was promoted; else it is a challenger, or has a part in a split."""
    settled: bool
    """Whether `settle` draws the consequence where no worker can load it. A split's guards see that its rows fail."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the live inference workers say of a version."""

    live: int
    holders: int
    refusals: Mapping[str, str]
    crashes: Sequence[str] = ()
    """Workers that died while they loaded it."""

    @property
    def all_hold(self) -> bool:
        """Whether it can answer anywhere at once. Without a worker there is nobody to wait for."""
        return self.holders == self.live

    @property
    def all_spoke(self) -> bool:
        """Whether every worker holds it or cannot."""
        return self.holders + len(self.refusals) >= self.live

    @property
    def failed(self) -> bool:
        """Whether nobody can load it."""
        return not self.holders and (bool(self.crashes) or (self.live > 0 and self.all_spoke))

    @property
    def reason(self) -> str:
        """Why not, for people."""
        deaths = [f"{name} died while it loaded it" for name in self.crashes]
        return "; ".join([*deaths, *dict.fromkeys(self.refusals.values())][:MOST_REASONS])


def list_wanted(session: Session) -> Sequence[Wanted]:
    """List the versions that workers shall hold although no request may have asked for them yet, upcoming ones first.

    Every worker asks several times a second, so this reads without a lock.
    """
    upcoming = func.coalesce(Model.upcoming_id == ModelVersion.id, false())
    challenges = func.coalesce(Model.challenger_id == ModelVersion.id, false())
    statement = (
        select(ModelVersion.id, Model.name, ModelVersion.number, upcoming, challenges)
        .join(Model, ModelVersion.model_id == Model.id)
        .outerjoin(Traffic, and_(Traffic.model_id == Model.id, Traffic.champion_id == Model.champion_id))
        .where(or_(upcoming, challenges, _shares_traffic()))
        .order_by(upcoming.desc(), ModelVersion.id)
    )
    rows = session.execute(statement, execution_options={"prepared": True})
    return [
        Wanted(version_id, f"{name}/{number}", upcoming=first, settled=first or challenger)
        for version_id, name, number, first, challenger in rows
    ]


def ask_workers(session: Session, version: ModelVersion, since: datetime | None = None) -> Verdict:
    """Read what the inference workers say of a version.

    Args:
        session: Where.
        version: Which.
        since: Ask also of which workers died later than this, while they loaded it.
    """
    key = f"{version.model.name}/{version.number}"
    inference = Worker.role == str(WorkerRole.INFERENCE)
    statement = select(Worker.name, literal(key) == any_(Worker.models), Worker.load_failures[key].astext)
    rows = session.execute(statement.where(is_serving(), inference)).all()
    refusals = {name: failure for name, holds, failure in rows if not holds and failure is not None}
    crashes: Sequence[str] = ()
    if since is not None:
        # Null says that it was being loaded, no value that it was not.
        loading = Worker.load_failures.has_key(key) & Worker.load_failures[key].astext.is_(None)
        died = Worker.stop_reason.in_(CRASHES) & (Worker.stopped_at > since)
        crashes = session.scalars(select(Worker.name).where(inference, died, loading)).all()
    return Verdict(len(rows), sum(holds for _, holds, _ in rows), refusals, crashes)


def _shares_traffic() -> ColumnElement[bool]:
    """Whether a version has a part in its model's split, beside the champion."""
    return and_(
        ModelVersion.id != Model.champion_id,
        ModelVersion.failed_at.is_(None),
        ModelVersion.archived_at.is_(None),
        or_(
            Traffic.weights.has_key(cast(ModelVersion.number, Text)),
            Traffic.shadows.contains(func.to_jsonb(ModelVersion.number)),
        ),
    )
