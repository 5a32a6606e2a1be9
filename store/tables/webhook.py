"""Webhooks: who is told, what is to be told, and every attempt to tell it."""

from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, SmallInteger, Text, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column, relationship

from schemas.enums import DeliveryState, WebhookState
from store.database import Base, CreatedAt, JsonObject, UtcDateTime

#: A function of the database: triggers write deliveries, and their ids sort by time.
NEW_ID = text("make_uuid7()")


class WebhookEndpoint(Base):
    """A URL that hears of what happens to a key's rows. A deleted one stays until its deliveries are purged."""

    __tablename__ = "webhook_endpoints"
    __table_args__ = (
        CheckConstraint(text(f"state IN ({', '.join(repr(str(s)) for s in WebhookState)})"), name="state"),
        # Whoever accepts a prediction looks here whether its key has any.
        Index("ix_webhook_endpoints_key", "api_key_id", "id", postgresql_where=text("deleted_at IS NULL")),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, server_default=NEW_ID)
    api_key_id: Mapped[int] = mapped_column(
        BigInteger, ForeignKey("api_keys.id"), comment="The tenant; other tenants get 404."
    )
    url: Mapped[str]
    description: Mapped[str] = mapped_column(server_default="", comment="For people.")
    events: Mapped[list[str]] = mapped_column(
        ARRAY(Text), comment="Members of schemas.enums.WebhookEvent: told for all of the key's rows."
    )
    state: Mapped[str] = mapped_column(
        server_default=str(WebhookState.ENABLED), comment="Member of schemas.enums.WebhookState."
    )
    pause_reason: Mapped[str | None] = mapped_column(comment="For people. NULL: it is enabled.")
    secret: Mapped[bytes] = mapped_column(comment="Signs; encrypted, see store.secret_box.")
    previous_secret: Mapped[bytes | None] = mapped_column(comment="Signs as well until its time is over; encrypted.")
    previous_secret_until: Mapped[UtcDateTime | None]
    failures: Mapped[int] = mapped_column(server_default="0", comment="Attempts in a row that failed.")
    failing_since: Mapped[UtcDateTime | None] = mapped_column(comment="When these began.")
    resting_until: Mapped[UtcDateTime | None] = mapped_column(
        comment="Nothing is sent before: the breaker is open, or the endpoint asked for time."
    )
    delivered_count: Mapped[int] = mapped_column(BigInteger, server_default="0", comment="Deliveries that arrived.")
    failed_count: Mapped[int] = mapped_column(BigInteger, server_default="0", comment="Attempts that failed.")
    dead_count: Mapped[int] = mapped_column(BigInteger, server_default="0", comment="Deliveries that were given up.")
    created_at: Mapped[CreatedAt]
    deleted_at: Mapped[UtcDateTime | None] = mapped_column(comment="NULL: not deleted.")


class WebhookDelivery(Base):
    """One event for one endpoint; its id is the `webhook-id`, the same however often it is sent."""

    __tablename__ = "webhook_deliveries"
    __table_args__ = (
        CheckConstraint(text(f"state IN ({', '.join(repr(str(s)) for s in DeliveryState)})"), name="state"),
        UniqueConstraint("endpoint_id", "subject_id", "event"),
        Index("ix_webhook_deliveries_endpoint", "endpoint_id", "id"),
        Index(
            "ix_webhook_deliveries_due", "endpoint_id", "next_attempt_at", postgresql_where=text("state = 'pending'")
        ),
        Index("ix_webhook_deliveries_sending", "endpoint_id", postgresql_where=text("state = 'sending'")),
        Index("ix_webhook_deliveries_finished", "finished_at", postgresql_where=text("finished_at IS NOT NULL")),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, server_default=NEW_ID)
    endpoint_id: Mapped[UUID] = mapped_column(ForeignKey("webhook_endpoints.id"))
    event: Mapped[str] = mapped_column(comment="Member of schemas.enums.WebhookEvent, or webhook.test.")
    subject_id: Mapped[str] = mapped_column(comment="Of the prediction or training, or made for what has no id.")
    payload: Mapped[JsonObject] = mapped_column(comment="The body: ids and a status, no answers.")
    state: Mapped[str] = mapped_column(
        server_default=str(DeliveryState.PENDING), comment="Member of schemas.enums.DeliveryState."
    )
    attempts: Mapped[int] = mapped_column(server_default="0", comment="Claims so far.")
    failures: Mapped[int] = mapped_column(
        SmallInteger, server_default="0", comment="Attempts that failed since it was written, or last asked for again."
    )
    crash_count: Mapped[int] = mapped_column(
        SmallInteger, server_default="0", comment="Claims whose process died, since it was written or asked for again."
    )
    next_attempt_at: Mapped[UtcDateTime] = mapped_column(server_default=text("now()"))
    fence: Mapped[int | None] = mapped_column(BigInteger, comment="Token of the last claim; rises with every claim.")
    worker_id: Mapped[int | None] = mapped_column(BigInteger, comment="The life of a pump that claimed it last.")
    attempt_deadline_at: Mapped[UtcDateTime | None] = mapped_column(comment="Past it a claim counts as hung.")
    created_at: Mapped[CreatedAt]
    finished_at: Mapped[UtcDateTime | None]

    endpoint: Mapped[WebhookEndpoint] = relationship(viewonly=True)


class WebhookAttempt(Base):
    """One attempt to deliver. Written when it begins, so that one whose process died is seen as well."""

    __tablename__ = "webhook_attempts"

    delivery_id: Mapped[UUID] = mapped_column(ForeignKey("webhook_deliveries.id", ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False, comment="1, 2, 3 ...")
    fence: Mapped[int] = mapped_column(BigInteger, comment="Of its claim.")
    started_at: Mapped[UtcDateTime]
    duration_ms: Mapped[float | None] = mapped_column(comment="NULL: it runs, or nobody lived to tell.")
    status_code: Mapped[int | None] = mapped_column(SmallInteger, comment="NULL: there was no answer.")
    error: Mapped[str | None] = mapped_column(comment="What went wrong, for people. NULL: it arrived, or runs.")
    response: Mapped[str | None] = mapped_column(comment="How the answer's body begins.")
