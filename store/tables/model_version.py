"""Model versions: numbered, immutable, weights by content."""

from typing import TYPE_CHECKING
from uuid import UUID

from sqlalchemy import BigInteger, ForeignKey, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from store.database import Base, CreatedAt, Identifier, JsonObject, UtcDateTime

if TYPE_CHECKING:
    from store.tables.gate_verdict import GateVerdict
    from store.tables.model import Model
    from store.tables.tuning import Tuning


class ModelVersion(Base):
    """One set of weights with the configuration that reads them."""

    __tablename__ = "model_versions"
    __table_args__ = (UniqueConstraint("model_id", "number"),)

    id: Mapped[Identifier]
    model_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("models.id"))
    number: Mapped[int] = mapped_column(comment="1, 2, 3 … within its model.")
    config: Mapped[JsonObject] = mapped_column(comment="Architecture, input and labels, as ml.spec reads them.")
    weights_sha256: Mapped[str] = mapped_column(comment="Hex; the object store's key, checked at load.")
    weights_bytes: Mapped[int] = mapped_column(BigInteger)
    metrics: Mapped[JsonObject] = mapped_column(comment="Figures on held-out data, as the training reported them.")
    source: Mapped[str] = mapped_column(comment="bundled, imported, uploaded or trained.")
    parent_id: Mapped[int | None] = mapped_column(
        BigInteger, ForeignKey("model_versions.id"), comment="The version whose weights or configuration it began with."
    )
    training_id: Mapped[UUID | None] = mapped_column(comment="The training that made it.")
    archived_at: Mapped[UtcDateTime | None] = mapped_column(comment="NULL: it may be promoted.")
    archive_reason: Mapped[str | None] = mapped_column(comment="For people: why it shall not answer.")
    failed_at: Mapped[UtcDateTime | None] = mapped_column(comment="NULL: no worker found that it cannot be loaded.")
    failure: Mapped[str | None] = mapped_column(comment="What the workers said when they could not load it.")
    created_at: Mapped[CreatedAt]

    parent: Mapped["ModelVersion | None"] = relationship(remote_side="ModelVersion.id", foreign_keys=[parent_id])
    model: Mapped["Model"] = relationship(back_populates="versions", foreign_keys=[model_id])
    tunings: Mapped[list["Tuning"]] = relationship(
        back_populates="version", order_by="Tuning.device_kind", passive_deletes=True
    )
    verdict: Mapped["GateVerdict | None"] = relationship(back_populates="version", passive_deletes=True)
