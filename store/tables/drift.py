"""Drift: what is usual of a version's answers, how they are now, and the alarms that were raised."""

from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, ForeignKey, Index, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column, relationship

from store.database import Base, CreatedAt, Identifier, JsonObject, UtcDateTime
from store.tables.model_version import ModelVersion


class DriftMonitor(Base):
    """What is watched of one version since it was promoted."""

    __tablename__ = "drift_monitors"

    model_version_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("model_versions.id"), primary_key=True)
    model_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("models.id"))
    since: Mapped[UtcDateTime] = mapped_column(comment="When it was promoted; a later promotion begins anew.")
    reference: Mapped[JsonObject] = mapped_column(
        server_default="{}", comment="What is usual, as store.drift writes it; whole once `answers` are enough."
    )
    window: Mapped[JsonObject] = mapped_column(server_default="{}", comment="The shares of labels at the last check.")
    measures: Mapped[list[dict[str, Any]]] = mapped_column(
        JSONB, server_default="[]", comment="What the last check found."
    )
    checks_over: Mapped[dict[str, int]] = mapped_column(
        JSONB,
        server_default="{}",
        comment="By measure, consecutive checks over the threshold; below 0, under it.",
    )
    last_id: Mapped[UUID | None] = mapped_column(comment="The newest answer whose shape was checked.")
    feedback_checked_at: Mapped[UtcDateTime | None] = mapped_column(comment="Feedback from before was checked.")
    checked_at: Mapped[UtcDateTime | None] = mapped_column(comment="NULL: not yet.")


class DriftAlarm(Base):
    """A measure that stayed over its threshold, until it fell below or another version answered."""

    __tablename__ = "drift_alarms"
    __table_args__ = (
        Index(None, "model_id", "id"),
        # Two beats that check at once raise one alarm.
        Index(
            "uq_drift_alarms_open",
            "model_version_id",
            "measure",
            unique=True,
            postgresql_where=text("closed_at IS NULL"),
        ),
    )

    id: Mapped[Identifier]
    model_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("models.id"))
    model_version_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("model_versions.id"))
    measure: Mapped[str] = mapped_column(comment="Member of schemas.enums.DriftMeasure.")
    value: Mapped[float] = mapped_column(comment="When it was raised.")
    threshold: Mapped[float]
    figures: Mapped[JsonObject] = mapped_column(comment="All that the check found of the measure.")
    opened_at: Mapped[CreatedAt]
    closed_at: Mapped[UtcDateTime | None] = mapped_column(comment="NULL: it is open.")
    close_reason: Mapped[str | None]

    version: Mapped[ModelVersion] = relationship(foreign_keys=[model_version_id])
