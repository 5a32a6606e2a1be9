"""Tunings: how a version runs fastest on one kind of device, as measured there."""

from typing import TYPE_CHECKING

from sqlalchemy import BigInteger, ForeignKey, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from store.database import Base, CreatedAt, Identifier, JsonObject

if TYPE_CHECKING:
    from store.tables.model_version import ModelVersion


class Tuning(Base):
    """The latest measurement of one version on one kind of device."""

    __tablename__ = "tunings"
    __table_args__ = (UniqueConstraint("model_version_id", "device_kind", "torch_version"),)

    id: Mapped[Identifier]
    model_version_id: Mapped[int] = mapped_column(
        BigInteger, ForeignKey("model_versions.id", ondelete="CASCADE"), comment="Leads the unique index."
    )
    device_kind: Mapped[str] = mapped_column(comment="Processor, instructions and threads, or the name of the GPU.")
    torch_version: Mapped[str] = mapped_column(comment="Another torch has other kernels.")
    choice: Mapped[JsonObject] = mapped_column(comment="What the engine runs, as ml.choices reads it.")
    figures: Mapped[JsonObject] = mapped_column(comment="Every way that was measured, the rejected ones too, and why.")
    complete: Mapped[bool] = mapped_column(comment="False: the time was up; measured on when the worker is idle.")
    created_at: Mapped[CreatedAt]

    version: Mapped["ModelVersion"] = relationship(back_populates="tunings")
