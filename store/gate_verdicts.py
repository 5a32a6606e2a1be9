"""Storing what the gate decided, in the transaction that does it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import exists, or_, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from schemas.enums import DecisionAction, GateOutcome
from store.decisions import record_decision
from store.promotion import archive, promote, set_challenger
from store.tables.gate_verdict import GateVerdict
from store.tables.model import Model
from store.tables.model_version import ModelVersion

#: Who decides, in the log of decisions.
ACTOR = "gate"


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """What the gate says of a candidate, as JSON can hold it."""

    outcome: GateOutcome
    reason: str
    policy: str
    champion_id: int | None
    training_id: UUID | None
    comparisons: Sequence[dict[str, Any]]
    guards: Sequence[dict[str, Any]]


def find_verdict(session: Session, model_version_id: int) -> GateVerdict | None:
    """Return what was decided about a version; None when it was not judged."""
    return session.scalar(select(GateVerdict).where(GateVerdict.model_version_id == model_version_id))


def carry_out(session: Session, candidate: ModelVersion, verdict: Verdict) -> bool:
    """Store a verdict and do what it says, each change with its row in `decisions`.

    Returns:
        False when the version was judged meanwhile: nothing was changed.

    Raises:
        VersionStateError: Somebody archived the version meanwhile, or it failed to load.
    """
    stored = session.scalar(
        insert(GateVerdict)
        .values(
            model_version_id=candidate.id,
            champion_version_id=verdict.champion_id,
            training_id=verdict.training_id,
            outcome=str(verdict.outcome),
            reason=verdict.reason,
            policy=verdict.policy,
            comparisons=list(verdict.comparisons),
            guards=list(verdict.guards),
        )
        .on_conflict_do_nothing()
        .returning(GateVerdict.id)
    )
    if stored is None:
        return False
    _apply(session, candidate, verdict)
    return True


def waiting_for_judgement(session: Session, *, older_than_s: float) -> Sequence[tuple[str, int]]:
    """Find trained versions that should have been judged by now, as (model, number): whoever was to do it died."""
    statement = (
        select(Model.name, ModelVersion.number)
        .join(Model, Model.id == ModelVersion.model_id)
        .where(
            ModelVersion.training_id.is_not(None),
            ModelVersion.archived_at.is_(None),
            ModelVersion.failed_at.is_(None),
            ModelVersion.created_at < text("now() - :age * interval '1 second'").bindparams(age=older_than_s),
            Model.champion_id.is_not(None),
            Model.champion_id != ModelVersion.id,
            or_(Model.challenger_id.is_(None), Model.challenger_id != ModelVersion.id),
            or_(Model.upcoming_id.is_(None), Model.upcoming_id != ModelVersion.id),
            ~exists().where(GateVerdict.model_version_id == ModelVersion.id),
        )
        .order_by(ModelVersion.id)
    )
    return [(row.name, row.number) for row in session.execute(statement)]


def _apply(session: Session, candidate: ModelVersion, verdict: Verdict) -> None:
    figures = {"comparisons": list(verdict.comparisons), "guards": list(verdict.guards)}
    about: dict[str, Any] = {"actor": ACTOR, "reason": verdict.reason, "figures": figures}
    if verdict.outcome is GateOutcome.PROMOTED:
        promote(session, name=candidate.model.name, number=candidate.number, **about)
    elif verdict.outcome is GateOutcome.CHALLENGER:
        set_challenger(session, name=candidate.model.name, number=candidate.number, **about)
    elif verdict.outcome is GateOutcome.ARCHIVED:
        archive(session, version=candidate, **about)
    else:
        record_decision(
            session, model_id=candidate.model_id, version_id=candidate.id, action=DecisionAction.GATE, **about
        )
