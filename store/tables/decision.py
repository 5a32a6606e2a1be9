"""Decisions: who changed what about a model, why, and by which figures. Only ever added to."""

from sqlalchemy import BigInteger, ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column, relationship

from store.database import Base, CreatedAt, Identifier, JsonObject
from store.tables.model_version import ModelVersion


class Decision(Base):
    """One change of what a model answers with, or of how that is decided."""

    __tablename__ = "decisions"
    __table_args__ = (Index(None, "model_id", "id"),)

    id: Mapped[Identifier]
    model_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("models.id"))
    model_version_id: Mapped[int | None] = mapped_column(
        BigInteger, ForeignKey("model_versions.id"), comment="The version that it is about. NULL: the whole model."
    )
    action: Mapped[str] = mapped_column(comment="Member of schemas.enums.DecisionAction.")
    actor: Mapped[str] = mapped_column(comment="Name of an API key, or torchqueue, beat or gate.")
    reason: Mapped[str] = mapped_column(comment="For people.")
    figures: Mapped[JsonObject] = mapped_column(server_default="{}", comment="What it was decided by.")
    created_at: Mapped[CreatedAt]

    version: Mapped[ModelVersion | None] = relationship(foreign_keys=[model_version_id])
