"""Which feedback a training learns from: chosen by a query, frozen row by row."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Select, Text, TextClause, cast, func, literal, select, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Session
from sqlalchemy.types import Uuid

from schemas.enums import FeedbackChoice, TrainingStatus
from schemas.training_options import TrainingOptions
from store import feedback_sql
from store.feedback import FEEDBACK_LOCK_ID
from store.holdout import HELD_OUT, held_out_parts
from store.tables.feedback import Feedback
from store.tables.prediction import Prediction
from store.tables.training import Training, TrainingExample

#: Rows read by one statement, so that none takes long.
PAGE = 5_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Survey:
    """What a selection would find, without the share that is held out."""

    rows: int
    labels: int


@dataclass(frozen=True, kw_only=True, slots=True)
class ChosenRow:
    """One row of feedback with the input that it is about; either `input` or `input_sha256` is set."""

    prediction_id: UUID
    revision: int
    label: Any
    source: str
    weight: float
    input: Any | None
    input_sha256: str | None


def survey(session: Session, model_id: int, options: TrainingOptions) -> Survey:
    """Count what a selection would find."""
    if options.feedback in (None, FeedbackChoice.NONE):
        return Survey(rows=0, labels=0)
    counts = select(func.count(), func.count(cast(Feedback.label, Text).distinct()))
    rows, labels = session.execute(counts.where(*_selecting(model_id, options))).one()
    return Survey(rows=rows, labels=labels)


def count_since(session: Session, model_id: int, options: TrainingOptions, since: datetime | None) -> int:
    """Count what a training would learn from that came, or was corrected, after a time; None counts all.

    `feedback_limit` is left out: it bounds what is learned from, not what has come.
    """
    if options.feedback in (None, FeedbackChoice.NONE):
        return 0
    counted = select(func.count()).select_from(Feedback).join(Prediction, Prediction.id == Feedback.prediction_id)
    statement = counted.where(*_learnable(model_id, options))
    if since is not None:
        statement = statement.where(Feedback.updated_at > since)
    return session.scalar(statement) or 0


def choose_rows(session: Session, model_id: int, options: TrainingOptions) -> Iterator[ChosenRow]:
    """Read the feedback that a training learns from: the newest predictions, in descending order of their ids.

    What is held out, and what has lost its input, is left out.
    """
    if options.feedback in (None, FeedbackChoice.NONE):
        return
    before: UUID | None = None
    left = options.feedback_limit
    while left > 0:
        page = session.execute(_page(model_id, options, before, min(PAGE, left))).mappings().all()
        yield from (ChosenRow(**row) for row in page)
        left -= len(page)
        if len(page) < PAGE:
            return
        before = page[-1]["prediction_id"]


def hold_feedback(session: Session, prediction_ids: Sequence[UUID]) -> bool:
    """Keep what was chosen from being forgotten until the transaction ends; returns whether all of it is there."""
    feedback_sql.LOCK.run(session.connection(), lock=FEEDBACK_LOCK_ID)
    ids = func.unnest(cast(list(prediction_ids), ARRAY(Uuid())))
    statement = select(func.count()).select_from(Feedback).where(Feedback.prediction_id.in_(select(ids)))
    return session.scalar(statement) == len(prediction_ids)


def read_inputs(session: Session, prediction_ids: Sequence[UUID]) -> dict[UUID, Any]:
    """Return the JSON inputs of predictions by id; one that is gone, or was a file, is missing."""
    if not prediction_ids:
        return {}
    found = select(Prediction.id, Prediction.input).where(
        # The range names the partitions in which they can be.
        Prediction.id.in_(prediction_ids),
        Prediction.id.between(min(prediction_ids), max(prediction_ids)),
        Prediction.input.is_not(None),
    )
    return {row.id: row.input for row in session.execute(found)}


def _page(model_id: int, options: TrainingOptions, before: UUID | None, limit: int) -> Select[Any]:
    statement = (
        select(
            Feedback.prediction_id,
            Feedback.revision,
            Feedback.label,
            Feedback.source,
            Feedback.weight,
            Prediction.input,
            Prediction.input_sha256,
        )
        .join(Prediction, Prediction.id == Feedback.prediction_id)
        .where(*_learnable(model_id, options))
    )
    if before is not None:
        statement = statement.where(Feedback.prediction_id < before)
    return statement.order_by(Feedback.prediction_id.desc()).limit(limit)


def _learnable(model_id: int, options: TrainingOptions) -> list[ColumnElement[bool] | TextClause]:
    """What is selected and neither held out nor without its input."""
    kept = text(f"NOT {HELD_OUT.format(column='feedback.prediction_id')}")
    return [
        *_selecting(model_id, options),
        kept.bindparams(held_out_parts=held_out_parts(options.holdout or 0.0)),
        Prediction.input_sha256.is_not(None) | Prediction.input.is_not(None),
    ]


def _selecting(model_id: int, options: TrainingOptions) -> list[ColumnElement[bool]]:
    chosen = [Feedback.model_id == model_id, Feedback.weight > 0, Feedback.weight >= options.min_weight]
    if options.sources is not None:
        chosen.append(Feedback.source.in_(options.sources))
    if options.feedback is FeedbackChoice.NEW:
        seen = (
            select(literal(1))
            .select_from(TrainingExample)
            .join(Training, Training.id == TrainingExample.training_id)
            .where(
                TrainingExample.prediction_id == Feedback.prediction_id,
                TrainingExample.revision == Feedback.revision,
                Training.status == str(TrainingStatus.SUCCEEDED),
            )
        )
        chosen.append(~seen.exists())
    return chosen
