"""How a model's traffic is divided among its versions, and what each got of it."""

from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, SmallInteger, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from schemas.enums import StickyKey, TrafficPolicy
from store.database import Base, CreatedAt, JsonObject, UtcDateTime


class Traffic(Base):
    """The split of one model. A model without a row is answered by its champion alone."""

    __tablename__ = "traffic"
    __table_args__ = (
        CheckConstraint(text(f"policy IN ({', '.join(repr(str(each)) for each in TrafficPolicy)})"), name="policy"),
        CheckConstraint(text(f"sticky IN ({', '.join(repr(str(each)) for each in StickyKey)})"), name="sticky"),
    )

    model_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("models.id"), primary_key=True, autoincrement=False)
    policy: Mapped[str] = mapped_column(comment="Member of schemas.enums.TrafficPolicy.")
    weights: Mapped[JsonObject] = mapped_column(comment="Shares by version number; any positive sum.")
    shadows: Mapped[list[Any]] = mapped_column(JSONB, comment="Numbers of versions that compute and never answer.")
    sticky: Mapped[str] = mapped_column(comment="Member of schemas.enums.StickyKey.")
    guards: Mapped[JsonObject] = mapped_column(comment="As schemas.traffic.Guards reads them.")
    learning: Mapped[JsonObject] = mapped_column(comment="As schemas.traffic.Learning reads it.")
    champion_id: Mapped[int | None] = mapped_column(
        BigInteger,
        ForeignKey("model_versions.id"),
        comment="The champion that the split is an experiment against; once another is, it is over.",
    )
    started_at: Mapped[UtcDateTime] = mapped_column(comment="When these versions began to share.")
    updated_at: Mapped[UtcDateTime] = mapped_column(comment="When the shares were last changed by hand.")


class TrafficArm(Base):
    """What a learned split knows of one version."""

    __tablename__ = "traffic_arms"

    model_id: Mapped[int] = mapped_column(
        BigInteger, ForeignKey("traffic.model_id", ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    model_version_id: Mapped[int] = mapped_column(
        BigInteger, ForeignKey("model_versions.id"), primary_key=True, autoincrement=False
    )
    probability: Mapped[float] = mapped_column(comment="With which it is chosen now.")
    posterior: Mapped[JsonObject] = mapped_column(comment="What was learned of it, for people.")
    refreshed_at: Mapped[CreatedAt]


class TrafficMinute(Base):
    """How many predictions whose version was drawn ended in one minute, by version, ending and latency."""

    __tablename__ = "traffic_minutes"

    model_version_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    minute: Mapped[UtcDateTime] = mapped_column(primary_key=True, comment="Its beginning.")
    status: Mapped[str] = mapped_column(
        primary_key=True, comment="A terminal member of schemas.enums.PredictionStatus."
    )
    latency_bucket: Mapped[int] = mapped_column(
        SmallInteger,
        primary_key=True,
        autoincrement=False,
        comment="Of store.stats.LATENCY_BUCKET, from acceptance on.",
    )
    predictions: Mapped[int] = mapped_column(BigInteger, comment="How many.")
