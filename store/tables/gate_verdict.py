"""Gate verdicts: what a trained version proved against the champion of its day, and what became of it."""

from typing import TYPE_CHECKING, Any
from uuid import UUID

from sqlalchemy import BigInteger, ForeignKey
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column, relationship

from store.database import Base, CreatedAt, Identifier

if TYPE_CHECKING:
    from store.tables.model_version import ModelVersion


class GateVerdict(Base):
    """One comparison of a candidate with the champion. A version is judged once: it never changes, nor does this."""

    __tablename__ = "gate_verdicts"

    id: Mapped[Identifier]
    model_version_id: Mapped[int] = mapped_column(
        BigInteger, ForeignKey("model_versions.id", ondelete="CASCADE"), unique=True, comment="The candidate."
    )
    champion_version_id: Mapped[int | None] = mapped_column(
        BigInteger, comment="What it was compared with; NULL: the model had no champion."
    )
    training_id: Mapped[UUID | None] = mapped_column(comment="The training that made the candidate.")
    outcome: Mapped[str] = mapped_column(comment="Member of schemas.enums.GateOutcome.")
    reason: Mapped[str] = mapped_column(comment="A sentence for people.")
    policy: Mapped[str] = mapped_column(comment="Member of schemas.enums.GatePolicy, as it was.")
    comparisons: Mapped[list[dict[str, Any]]] = mapped_column(
        JSONB, comment="By set of items: both figures, the gain with its interval, items and p-value."
    )
    guards: Mapped[list[dict[str, Any]]] = mapped_column(JSONB, comment="By name: value, limit, whether it held.")
    created_at: Mapped[CreatedAt]

    version: Mapped["ModelVersion"] = relationship(back_populates="verdict", foreign_keys=[model_version_id])
    champion: Mapped["ModelVersion | None"] = relationship(
        primaryjoin="ModelVersion.id == GateVerdict.champion_version_id",
        foreign_keys=[champion_version_id],
        viewonly=True,
    )
