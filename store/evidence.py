"""Feedback that two versions can be compared on, because neither has learned from it."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Select, select, text
from sqlalchemy.orm import Session

from schemas.gate_settings import GateSettings
from store.holdout import HELD_OUT, held_out_parts
from store.lineage import seen_predictions
from store.tables.feedback import Feedback
from store.tables.prediction import Prediction


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelledInput:
    """A request that was stored, and the right answer to it. Either `input` or `input_sha256` is set."""

    prediction_id: UUID
    label: Any
    input: Any | None
    input_sha256: str | None
    input_bytes: int


def recent_unseen(
    session: Session, *, model_id: int, version_ids: tuple[int, ...], settings: GateSettings
) -> list[LabelledInput]:
    """The newest `max_items` of the feedback that none of the versions has learned from."""
    return _read(session, _unseen(version_ids).where(Feedback.model_id == model_id).limit(settings.max_items))


def split_unseen(
    session: Session, *, model_id: int, version_ids: tuple[int, ...], settings: GateSettings
) -> tuple[list[LabelledInput], list[LabelledInput]]:
    """The same in two sets: what is kept from all trainings, see `store.holdout`, and the rest; each `max_items`."""
    kept = HELD_OUT.format(column="feedback.prediction_id")
    parts = held_out_parts(settings.held_out_share)
    unseen = _unseen(version_ids).where(Feedback.model_id == model_id).limit(settings.max_items)
    inside, outside = (text(part).bindparams(held_out_parts=parts) for part in (kept, f"NOT {kept}"))
    return _read(session, unseen.where(inside)), _read(session, unseen.where(outside))


def _unseen(version_ids: tuple[int, ...]) -> Select[Any]:
    return (
        select(Prediction.id, Feedback.label, Prediction.input, Prediction.input_sha256, Prediction.input_bytes)
        .join(Prediction, Prediction.id == Feedback.prediction_id)
        .where(
            Feedback.prediction_id.not_in(seen_predictions(*version_ids)),
            # What weighs nothing in a training proves nothing either.
            Feedback.weight > 0,
            _readable(),
        )
        .order_by(Feedback.updated_at.desc(), Feedback.prediction_id)
    )


def _readable() -> ColumnElement[bool]:
    return Prediction.input.is_not(None) | Prediction.input_sha256.is_not(None)


def _read(session: Session, statement: Select[Any]) -> list[LabelledInput]:
    return [
        LabelledInput(
            prediction_id=row.id,
            label=row.label,
            input=row.input,
            input_sha256=row.input_sha256,
            input_bytes=row.input_bytes or 0,
        )
        for row in session.execute(statement)
    ]
