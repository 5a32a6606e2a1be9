"""Worker processes: who holds which rows, and until when."""

from sqlalchemy import Index, Text, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from store.database import Base, CreatedAt, Identifier, UtcDateTime


class Worker(Base):
    """One life of one worker process: a restart, or a lease that ran out, makes a new row (a new epoch)."""

    __tablename__ = "workers"
    __table_args__ = (Index("ix_workers_live", "lease_expires_at", postgresql_where=text("stopped_at IS NULL")),)

    id: Mapped[Identifier]
    name: Mapped[str] = mapped_column(comment="Celery node name, e.g. cpu-0@host; Flower shows the same.")
    role: Mapped[str] = mapped_column(comment="Member of schemas.enums.WorkerRole.")
    device: Mapped[str] = mapped_column(comment="cuda:N or cpu:N; training and maintenance run on cpu:0.")
    queue: Mapped[str] = mapped_column(comment="The queue that only this worker consumes.")
    host: Mapped[str]
    pid: Mapped[int] = mapped_column(comment="On that host; lets the supervisor end this life the moment it dies.")
    models: Mapped[list[str]] = mapped_column(
        ARRAY(Text), server_default="{}", comment="Loaded on the device, as name/version."
    )
    rates: Mapped[dict[str, dict[str, float]]] = mapped_column(
        JSONB, server_default="{}", comment="What versions cost here, by name/version; see store.rates.Rate.dump."
    )
    load_failures: Mapped[dict[str, str | None]] = mapped_column(
        JSONB,
        server_default="{}",
        comment="Why versions that were to be loaded are not, by name/version; null while one is being loaded.",
    )
    created_at: Mapped[CreatedAt]
    lease_expires_at: Mapped[UtcDateTime] = mapped_column(comment="Past it, all that the worker held is queued again.")
    progress_at: Mapped[UtcDateTime] = mapped_column(comment="When the engine last finished a batch or was idle.")
    state: Mapped[str] = mapped_column(server_default="serving", comment="Member of schemas.enums.WorkerState.")
    stopped_at: Mapped[UtcDateTime | None] = mapped_column(comment="NULL: alive as far as we know.")
    stop_reason: Mapped[str | None] = mapped_column(comment="Member of schemas.enums.StopReason.")
