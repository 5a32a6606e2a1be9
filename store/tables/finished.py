"""What finished, second by second: the statistics' memory, so that no reader counts the rows themselves."""

from sqlalchemy import BigInteger, CheckConstraint, SmallInteger, text
from sqlalchemy.orm import Mapped, mapped_column

from store.database import Base, UtcDateTime


class FinishedSecond(Base):
    """How many predictions of a version ended in one second, in one way, with about the same latency."""

    __tablename__ = "finished_seconds"

    second: Mapped[UtcDateTime] = mapped_column(primary_key=True, comment="Its beginning.")
    model_version_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    status: Mapped[str] = mapped_column(
        primary_key=True, comment="A terminal member of schemas.enums.PredictionStatus."
    )
    latency_bucket: Mapped[int] = mapped_column(
        SmallInteger,
        primary_key=True,
        autoincrement=False,
        comment="Of store.stats.LATENCY_BUCKET, from acceptance on.",
    )
    predictions: Mapped[int] = mapped_column(comment="How many.")


class FinishedSummary(Base):
    """Up to where `finished_seconds` is complete; one row, whose lock also keeps two summaries apart."""

    __tablename__ = "finished_summary"
    __table_args__ = (CheckConstraint(text("id = 1"), name="single"),)

    id: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    summarized_to: Mapped[UtcDateTime] = mapped_column(comment="A whole second; what ended later is in no summary yet.")
