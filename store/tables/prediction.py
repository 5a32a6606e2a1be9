"""Predictions: the queue and the memory in one table."""

from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, Index, SmallInteger, false, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column, relationship

from schemas.enums import PredictionStatus, Priority
from store.database import Base, CreatedAt, JsonObject, UtcDateTime
from store.tables.feedback import Feedback
from store.tables.item import Item
from store.tables.model_version import ModelVersion

QUEUED = text("status = 'queued'")
RARE_ENDING = text("status IN ('failed', 'canceled', 'expired')")
DEAD = text("error_code IN ('attempts_exhausted', 'worker_crash')")


class Prediction(Base):
    """One request to a model. Partitioned by week on the UUIDv7 id, whose first 48 bits are milliseconds.

    The references to key, model and version carry no foreign key on purpose: those rows are never deleted,
    and the check would lock one hot parent row for every insert.
    """

    __tablename__ = "predictions"
    __table_args__ = (
        CheckConstraint(text(f"status IN ({', '.join(repr(str(s)) for s in PredictionStatus)})"), name="status"),
        CheckConstraint(text(f"priority IN ({', '.join(repr(str(p)) for p in Priority)})"), name="priority"),
        # The most urgent row of all, and the batch of its version, are both read in index order.
        Index("ix_predictions_queue", "claim_order", "id", postgresql_where=QUEUED),
        Index("ix_predictions_version_queue", "model_version_id", "claim_order", "id", postgresql_where=QUEUED),
        Index("ix_predictions_held", "worker_id", postgresql_where=text("status = 'processing'")),
        Index(
            "ix_predictions_deadline",
            "deadline_at",
            postgresql_where=text("status = 'queued' AND deadline_at IS NOT NULL"),
        ),
        Index("ix_predictions_item", "item_id", "id", postgresql_where=text("item_id IS NOT NULL")),
        # Whatever a list is narrowed by, its page is a range of one of these: a key or a version that has no rows
        # among millions is found to have none at once.
        Index("ix_predictions_version", "model_version_id", "id"),
        Index("ix_predictions_key", "api_key_id", "model_version_id", "id"),
        # The endings that are rare; a success costs no entry.
        Index("ix_predictions_ending", "status", "id", postgresql_where=RARE_ENDING),
        # The endings that somebody has to look at.
        Index("ix_predictions_dead", "id", postgresql_where=DEAD),
        Index("ix_predictions_shadow_of", "shadow_of", postgresql_where=text("shadow_of IS NOT NULL")),
        Index("ix_predictions_shadow", "model_version_id", "id", postgresql_where=text("shadow_of IS NOT NULL")),
        Index("ix_predictions_backtest", "backtest_id", "id", postgresql_where=text("backtest_id IS NOT NULL")),
        Index("ix_predictions_finished", "finished_at", postgresql_where=text("finished_at IS NOT NULL")),
        {"postgresql_partition_by": "RANGE (id)"},
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, comment="UUIDv7, made by the web process that accepts.")
    api_key_id: Mapped[int] = mapped_column(BigInteger, comment="The tenant; other tenants get 404.")
    model_id: Mapped[int] = mapped_column(BigInteger)
    model_version_id: Mapped[int] = mapped_column(BigInteger)
    item_id: Mapped[int | None] = mapped_column(BigInteger, comment="NULL: about no item of a catalog.")
    status: Mapped[str] = mapped_column(comment="Member of schemas.enums.PredictionStatus; a trigger guards its edges.")
    priority: Mapped[str] = mapped_column(comment="Member of schemas.enums.Priority.")
    input: Mapped[Any | None] = mapped_column(JSONB(none_as_null=True), comment="A JSON input; NULL for a file.")
    input_sha256: Mapped[str | None] = mapped_column(comment="Hex; a file's key in the object store.")
    input_bytes: Mapped[int | None] = mapped_column(comment="Size of the file.")
    index_action: Mapped[str | None] = mapped_column(
        comment="Member of schemas.enums.IndexAction: what becomes of its embedding. NULL: an ordinary prediction."
    )
    reply_channel: Mapped[str | None] = mapped_column(comment="Redis channel of the web process that accepted.")
    claim_order: Mapped[UtcDateTime] = mapped_column(
        comment="Created plus a delay by priority: the least goes first, so that waiting raises a row's rank."
    )
    run_after: Mapped[UtcDateTime] = mapped_column(comment="Not claimed before; moves back after a transient error.")
    deadline_at: Mapped[UtcDateTime | None] = mapped_column(comment="Past it a queued row expires.")
    attempt: Mapped[int] = mapped_column(SmallInteger, server_default="0", comment="Claims so far.")
    crash_count: Mapped[int] = mapped_column(
        SmallInteger, server_default="0", comment="Claims whose process died; above 0 the row runs alone."
    )
    fence: Mapped[int | None] = mapped_column(BigInteger, comment="Token of the last claim; rises with every claim.")
    worker_id: Mapped[int | None] = mapped_column(BigInteger, comment="The life of a worker that claimed it last.")
    attempt_deadline_at: Mapped[UtcDateTime | None] = mapped_column(comment="Past it a claim counts as hung.")
    device: Mapped[str | None]
    result: Mapped[JsonObject | None]
    error_code: Mapped[str | None] = mapped_column(comment="Member of schemas.enums.ErrorCode.")
    error_detail: Mapped[str | None] = mapped_column(comment="A sentence for the client.")
    decode_ms: Mapped[float | None]
    compute_ms: Mapped[float | None]
    cached: Mapped[bool] = mapped_column(
        server_default=false(), comment="Answered with the result of an earlier prediction of the same input."
    )
    redrive_of: Mapped[UUID | None] = mapped_column(comment="The dead letter that it asks again.")
    shadow_of: Mapped[UUID | None] = mapped_column(comment="The prediction that was answered in its stead.")
    assignment_probability: Mapped[float | None] = mapped_column(
        comment="With which its version was chosen for it; NULL: the version was not drawn."
    )
    backtest_id: Mapped[int | None] = mapped_column(
        BigInteger, comment="The backtest that it is a row of; it answers nobody."
    )
    webhook_id: Mapped[UUID | None] = mapped_column(
        comment="The webhook endpoint that the request named; it hears of the end, whatever it subscribes to."
    )
    notify: Mapped[bool | None] = mapped_column(
        comment="Whether its key had a webhook endpoint; a trigger looks for endpoints at its end. NULL: none."
    )
    created_at: Mapped[CreatedAt]
    started_at: Mapped[UtcDateTime | None]
    finished_at: Mapped[UtcDateTime | None]

    version: Mapped[ModelVersion] = relationship(
        primaryjoin=lambda: ModelVersion.id == Prediction.model_version_id,
        foreign_keys=[model_version_id],
        viewonly=True,
    )
    item: Mapped[Item | None] = relationship(
        primaryjoin=lambda: Item.id == Prediction.item_id, foreign_keys=[item_id], viewonly=True
    )
    feedback: Mapped[Feedback | None] = relationship(
        primaryjoin=lambda: Feedback.prediction_id == Prediction.id,
        foreign_keys=lambda: [Prediction.id],
        viewonly=True,
    )
