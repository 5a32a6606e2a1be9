"""Backtests: stored requests that have feedback, replayed on two versions."""

from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from schemas.enums import BacktestStatus
from store.database import Base, CreatedAt, Identifier, UtcDateTime


class Backtest(Base):
    """One replay. It moves as long as it is running, a group of requests at a time."""

    __tablename__ = "backtests"
    __table_args__ = (
        CheckConstraint(text(f"status IN ({', '.join(repr(str(s)) for s in BacktestStatus)})"), name="status"),
        Index("ix_backtests_running", "id", postgresql_where=text("status = 'running'")),
    )

    id: Mapped[Identifier]
    api_key_id: Mapped[int] = mapped_column(BigInteger, comment="The tenant; other tenants get 404.")
    model_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("models.id"))
    model_version_id: Mapped[int] = mapped_column(BigInteger, comment="The version that is tried.")
    baseline_version_id: Mapped[int] = mapped_column(BigInteger, comment="What it is compared with.")
    status: Mapped[str] = mapped_column(comment="Member of schemas.enums.BacktestStatus.")
    requests: Mapped[int] = mapped_column(comment="How many it replays.")
    created_at: Mapped[CreatedAt]
    finished_at: Mapped[UtcDateTime | None]


class BacktestItem(Base):
    """One replayed request. What both versions said is copied here, so that it outlives the predictions."""

    __tablename__ = "backtest_items"
    __table_args__ = (
        Index("ix_backtest_items_open", "backtest_id", "position", postgresql_where=text("settled_at IS NULL")),
        Index("ix_backtest_items_source_id", "source_id"),
        Index("ix_backtest_items_disagreed", "backtest_id", "position", postgresql_where=text("disagreed")),
    )

    backtest_id: Mapped[int] = mapped_column(
        BigInteger, ForeignKey("backtests.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    position: Mapped[int] = mapped_column(primary_key=True, autoincrement=False, comment="0, 1, 2 … newest first.")
    source_id: Mapped[UUID] = mapped_column(comment="The prediction that has the feedback.")
    label: Mapped[Any] = mapped_column(JSONB, comment="What the feedback said when the backtest was made.")
    candidate_id: Mapped[UUID | None] = mapped_column(comment="Its replay on the version that is tried; NULL: not yet.")
    baseline_id: Mapped[UUID | None] = mapped_column(comment="Its replay on the baseline; NULL: not yet.")
    candidate_answer: Mapped[Any | None] = mapped_column(JSONB(none_as_null=True), comment="A label or a number.")
    baseline_answer: Mapped[Any | None] = mapped_column(JSONB(none_as_null=True))
    candidate_score: Mapped[float | None] = mapped_column(comment="1 or 0 for right or wrong; minus the error.")
    baseline_score: Mapped[float | None]
    candidate_ms: Mapped[float | None] = mapped_column(comment="Decoding and computing, milliseconds.")
    baseline_ms: Mapped[float | None]
    disagreed: Mapped[bool | None] = mapped_column(comment="Whether the two gave different answers.")
    skip_reason: Mapped[str | None] = mapped_column(comment="Why nothing could be compared; NULL: it was, or will be.")
    settled_at: Mapped[UtcDateTime | None] = mapped_column(comment="NULL: still to be replayed or answered.")
