"""Models: a name that clients call, and the version that answers under it."""

from sqlalchemy import BigInteger, ForeignKey
from sqlalchemy.orm import Mapped, mapped_column, relationship

from store.database import Base, CreatedAt, Identifier, JsonObject, UtcDateTime
from store.tables.model_version import ModelVersion


class Model(Base):
    """What a client names in the URL. Its versions hold the weights."""

    __tablename__ = "models"

    id: Mapped[Identifier]
    name: Mapped[str] = mapped_column(unique=True)
    kind: Mapped[str] = mapped_column(comment="Registered in ml.kinds, e.g. classification.")
    description: Mapped[str]
    settings: Mapped[JsonObject] = mapped_column(
        server_default="{}", comment="Where it runs and what is remembered, as schemas.model_settings reads it."
    )
    created_at: Mapped[CreatedAt]
    champion_id: Mapped[int | None] = mapped_column(
        BigInteger,
        ForeignKey("model_versions.id", use_alter=True),
        comment="The version that answers when the client names none.",
    )
    challenger_id: Mapped[int | None] = mapped_column(
        BigInteger,
        ForeignKey("model_versions.id", use_alter=True),
        comment="The version that may become champion: it is kept loaded and compared.",
    )
    upcoming_id: Mapped[int | None] = mapped_column(
        BigInteger,
        ForeignKey("model_versions.id", use_alter=True),
        comment="The version that was promoted and becomes champion once the workers hold it.",
    )
    upcoming_since: Mapped[UtcDateTime | None] = mapped_column(comment="When that was decided.")

    champion: Mapped[ModelVersion | None] = relationship(foreign_keys=[champion_id], post_update=True)
    challenger: Mapped[ModelVersion | None] = relationship(foreign_keys=[challenger_id], post_update=True)
    upcoming: Mapped[ModelVersion | None] = relationship(foreign_keys=[upcoming_id], post_update=True)
    versions: Mapped[list[ModelVersion]] = relationship(
        back_populates="model", foreign_keys=[ModelVersion.model_id], order_by=ModelVersion.number
    )
