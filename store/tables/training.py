"""Trainings: from a request for a new version to the version, or to why there is none."""

from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, SmallInteger, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column, relationship

from schemas.enums import TrainingStatus, TrainingTrigger
from store.database import Base, CreatedAt, JsonObject, UtcDateTime
from store.tables.model import Model
from store.tables.model_version import ModelVersion

OPEN = text("status IN ('queued', 'processing')")


class Training(Base):
    """One training of one model. Its versions carry no foreign key, as in `predictions`: they are never deleted."""

    __tablename__ = "trainings"
    __table_args__ = (
        CheckConstraint(text(f"status IN ({', '.join(repr(str(s)) for s in TrainingStatus)})"), name="status"),
        CheckConstraint(text(f"trigger IN ({', '.join(repr(str(t)) for t in TrainingTrigger)})"), name="trigger"),
        # One training per model at a time, whoever asks and however many ask at once.
        Index("uq_trainings_open", "model_id", unique=True, postgresql_where=OPEN),
        Index("ix_trainings_model", "model_id", "id"),
        Index("ix_trainings_version", "model_version_id", postgresql_where=text("model_version_id IS NOT NULL")),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, comment="UUIDv7.")
    model_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("models.id"))
    status: Mapped[str] = mapped_column(comment="Member of schemas.enums.TrainingStatus; a trigger guards its edges.")
    trigger: Mapped[str] = mapped_column(comment="Member of schemas.enums.TrainingTrigger.")
    actor: Mapped[str] = mapped_column(comment="Who asked: the name of an API key, `torchqueue` or `beat`.")
    options: Mapped[JsonObject] = mapped_column(comment="As schemas.training_options reads them.")
    seed: Mapped[int] = mapped_column(BigInteger)
    parent_version_id: Mapped[int | None] = mapped_column(
        BigInteger, comment="The version whose weights or configuration it begins with."
    )
    data_sha256: Mapped[str | None] = mapped_column(
        comment="Hex; posted tensors in the object store. NULL: base data and feedback."
    )
    time_limit_s: Mapped[float] = mapped_column(comment="Of computing, from the first start on, resumptions included.")
    manifest_sha256: Mapped[str | None] = mapped_column(comment="Hex; what it is trained on. NULL until it started.")
    example_count: Mapped[int | None] = mapped_column(comment="Rows of feedback in the manifest.")
    attempt: Mapped[int] = mapped_column(SmallInteger, server_default="0", comment="Claims so far.")
    crash_count: Mapped[int] = mapped_column(
        SmallInteger, server_default="0", comment="Claims whose process died since the last checkpoint."
    )
    fence: Mapped[int | None] = mapped_column(BigInteger, comment="Token of the last claim; rises with every claim.")
    worker_id: Mapped[int | None] = mapped_column(BigInteger, comment="The life of a worker that claimed it last.")
    device: Mapped[str | None]
    progress: Mapped[dict[str, Any] | None] = mapped_column(
        JSONB(none_as_null=True), comment="The last step: epoch, epochs, step, steps, loss, metric."
    )
    checkpoint_sha256: Mapped[str | None] = mapped_column(comment="Hex; where a dead training goes on from.")
    checkpoint_epoch: Mapped[int | None] = mapped_column(comment="Epochs that are in the checkpoint.")
    log: Mapped[str] = mapped_column(server_default="", deferred=True, comment="The end of what its process said.")
    model_version_id: Mapped[int | None] = mapped_column(BigInteger, comment="What came of it.")
    metrics: Mapped[JsonObject | None]
    error_code: Mapped[str | None] = mapped_column(comment="Member of schemas.enums.TrainingErrorCode.")
    error_detail: Mapped[str | None] = mapped_column(comment="A sentence for the client.")
    created_at: Mapped[CreatedAt]
    started_at: Mapped[UtcDateTime | None] = mapped_column(comment="Of its first claim.")
    deadline_at: Mapped[UtcDateTime | None] = mapped_column(comment="When the time limit is over.")
    finished_at: Mapped[UtcDateTime | None]

    model: Mapped[Model] = relationship(viewonly=True)
    version: Mapped[ModelVersion | None] = relationship(
        primaryjoin=lambda: ModelVersion.id == Training.model_version_id,
        foreign_keys=[model_version_id],
        viewonly=True,
    )
    parent: Mapped[ModelVersion | None] = relationship(
        primaryjoin=lambda: ModelVersion.id == Training.parent_version_id,
        foreign_keys=[parent_version_id],
        viewonly=True,
    )


class TrainingExample(Base):
    """A prediction whose feedback a training learned from: lineage, read from both ends.

    Only ids: the labels are in the manifest, and what was forgotten leaves nothing here but that it was seen.
    """

    __tablename__ = "training_examples"
    __table_args__ = (Index("ix_training_examples_prediction", "prediction_id"),)

    training_id: Mapped[UUID] = mapped_column(ForeignKey("trainings.id", ondelete="CASCADE"), primary_key=True)
    prediction_id: Mapped[UUID] = mapped_column(primary_key=True, comment="No reference: partitions are dropped.")
    revision: Mapped[int] = mapped_column(comment="Of its feedback, as the training saw it.")


class TrainingSchedule(Base):
    """What the automatic triggers of a model remember. One row for each model that has any."""

    __tablename__ = "training_schedules"

    model_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("models.id", ondelete="CASCADE"), primary_key=True)
    cron: Mapped[str | None] = mapped_column(comment="What `ticked_at` belongs to; another line begins anew.")
    ticked_at: Mapped[UtcDateTime] = mapped_column(
        comment="Ticks up to here are done with. Whoever moves it on has fired: compare-and-set."
    )
    fired_at: Mapped[UtcDateTime | None] = mapped_column(comment="When a tick last became a training.")
    note: Mapped[str | None] = mapped_column(comment="Why the last due trigger became none.")
    noted_at: Mapped[UtcDateTime | None]
