"""Feedback: what the right answer to a prediction was, as somebody told us later, and what was told before."""

from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, ForeignKey, Index, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from store.database import Base, CreatedAt, UtcDateTime


class Feedback(Base):
    """The latest word on one prediction; a trigger keeps each earlier one in `feedback_history`.

    Carries what figures and trainings select by, so that neither has to open the predictions. No foreign key leads
    there: their partitions are dropped as a whole, and the feedback on them is removed by the job that drops them.
    """

    __tablename__ = "feedback"
    __table_args__ = (
        # Accuracy of a version in a span of time is read from the index alone.
        Index(
            "ix_feedback_version_predicted",
            "model_version_id",
            "predicted_at",
            postgresql_include=["is_correct", "error"],
        ),
        # What is new since a training, of all versions.
        Index("ix_feedback_model_updated", "model_id", "updated_at"),
        Index("ix_feedback_item", "item_id", postgresql_where=text("item_id IS NOT NULL")),
    )

    prediction_id: Mapped[UUID] = mapped_column(primary_key=True)
    api_key_id: Mapped[int] = mapped_column(BigInteger, comment="The prediction's tenant; other tenants get 404.")
    model_id: Mapped[int] = mapped_column(BigInteger)
    model_version_id: Mapped[int] = mapped_column(BigInteger, comment="The version that answered.")
    item_id: Mapped[int | None] = mapped_column(BigInteger, comment="The prediction's item.")
    label: Mapped[Any] = mapped_column(JSONB(none_as_null=True), comment="The right answer, in the form of the kind.")
    is_correct: Mapped[bool | None] = mapped_column(
        comment="Whether the answer was right; NULL where right and wrong are a matter of degree."
    )
    error: Mapped[float | None] = mapped_column(comment="How far a number was off, in its unit, without its sign.")
    source: Mapped[str] = mapped_column(comment="Who or what says so, in the caller's own words.")
    weight: Mapped[float] = mapped_column(comment="How much a training makes of it; 1 is usual.")
    revision: Mapped[int] = mapped_column(server_default="1", comment="1, 2, 3 …: changes with each other word.")
    recorded_by: Mapped[int] = mapped_column(BigInteger, comment="The API key that sent it.")
    predicted_at: Mapped[UtcDateTime] = mapped_column(comment="When the prediction was accepted.")
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[CreatedAt] = mapped_column(comment="When this revision came.")


class FeedbackRevision(Base):
    """An earlier word on a prediction, as it stood until another came."""

    __tablename__ = "feedback_history"

    prediction_id: Mapped[UUID] = mapped_column(
        ForeignKey("feedback.prediction_id", ondelete="CASCADE"), primary_key=True
    )
    revision: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    label: Mapped[Any] = mapped_column(JSONB(none_as_null=True))
    is_correct: Mapped[bool | None]
    error: Mapped[float | None]
    source: Mapped[str]
    weight: Mapped[float]
    recorded_by: Mapped[int] = mapped_column(BigInteger)
    recorded_at: Mapped[UtcDateTime] = mapped_column(comment="When it came.")
    replaced_at: Mapped[CreatedAt] = mapped_column(comment="When the next came.")
