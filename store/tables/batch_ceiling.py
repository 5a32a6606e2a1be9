"""Batch ceilings: how many items fit one forward, as workers found out."""

from sqlalchemy import BigInteger, ForeignKey, func
from sqlalchemy.orm import Mapped, mapped_column

from store.database import Base, UtcDateTime


class BatchCeiling(Base):
    """What a version's batches of one shape may hold on one kind of device, so that a restart does not try again."""

    __tablename__ = "batch_ceilings"

    model_version_id: Mapped[int] = mapped_column(
        BigInteger, ForeignKey("model_versions.id", ondelete="CASCADE"), primary_key=True
    )
    device_kind: Mapped[str] = mapped_column(primary_key=True, comment="What it is and its memory, e.g. cpu 16 GiB.")
    shape: Mapped[str] = mapped_column(primary_key=True, comment="Of one item, e.g. 3x224x224.")
    items: Mapped[int] = mapped_column(comment="Most items in one forward.")
    failures: Mapped[int] = mapped_column(comment="How often memory ran short; the next try waits longer each time.")
    updated_at: Mapped[UtcDateTime] = mapped_column(server_default=func.now())
