"""The log of decisions: who changed what about a model, why, and by which figures."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session, joinedload

from schemas.enums import DecisionAction
from store.tables.decision import Decision

NO_FIGURES: Mapping[str, Any] = MappingProxyType({})

#: Who decides where no person or key did.
SYSTEM_ACTOR = "torchqueue"

#: Who decides where a command reaches the database without a key.
COMMAND_ACTOR = "command line"


def record_decision(
    session: Session,
    *,
    model_id: int,
    action: DecisionAction,
    actor: str,
    reason: str,
    version_id: int | None = None,
    figures: Mapping[str, Any] = NO_FIGURES,
) -> Decision:
    """Add a decision to the log, in the transaction that does what was decided."""
    decision = Decision(
        model_id=model_id,
        model_version_id=version_id,
        action=str(action),
        actor=actor,
        reason=reason,
        figures=dict(figures),
    )
    session.add(decision)
    session.flush()
    return decision


def list_decisions(
    session: Session, *, model_id: int, limit: int, before_id: int | None = None, action: str | None = None
) -> Sequence[Decision]:
    """List decisions about a model, newest first.

    Args:
        session: Where.
        model_id: Of this model only.
        limit: Most to return.
        before_id: Go on after the decision with this id.
        action: Only those of one kind.
    """
    statement = select(Decision).where(Decision.model_id == model_id).options(joinedload(Decision.version))
    if before_id is not None:
        statement = statement.where(Decision.id < before_id)
    if action is not None:
        statement = statement.where(Decision.action == action)
    return session.scalars(statement.order_by(Decision.id.desc()).limit(limit)).all()
