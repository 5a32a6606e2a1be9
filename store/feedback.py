"""Feedback: storing what the right answers were, and reading it again."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from store.errors import UnknownFeedbackError
from store.tables.feedback import Feedback, FeedbackRevision

#: Who says so, where the caller does not tell.
DEFAULT_SOURCE = "api"

#: What a training makes of feedback, where the caller does not tell.
DEFAULT_WEIGHT = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Correction:
    """What somebody says the right answer to a prediction was.

    Either `prediction_id` is set, or `catalog` and `external_id`, which stand for the latest answer about that item.

    Attributes:
        label: The right answer, in the form of the model's kind.
        source: Who or what says so.
        weight: How much a training makes of it.
    """

    label: Any
    prediction_id: UUID | None = None
    catalog: str | None = None
    external_id: str | None = None
    source: str = DEFAULT_SOURCE
    weight: float = DEFAULT_WEIGHT


def get_feedback(session: Session, prediction_id: UUID, *, api_key_id: int | None) -> Feedback:
    """Return the feedback on a prediction.

    Args:
        session: To read with.
        prediction_id: On which prediction.
        api_key_id: The tenant that may see it; None for any.

    Raises:
        UnknownFeedbackError: There is none, or it is another tenant's.
    """
    statement = select(Feedback).where(Feedback.prediction_id == prediction_id)
    if api_key_id is not None:
        statement = statement.where(Feedback.api_key_id == api_key_id)
    row = session.scalar(statement)
    if row is None:
        raise UnknownFeedbackError(f"there is no feedback on prediction {prediction_id}")
    return row


def list_revisions(session: Session, prediction_id: UUID) -> Sequence[FeedbackRevision]:
    """List what was said of a prediction before its latest feedback, newest first."""
    statement = select(FeedbackRevision).where(FeedbackRevision.prediction_id == prediction_id)
    return session.scalars(statement.order_by(FeedbackRevision.revision.desc())).all()
