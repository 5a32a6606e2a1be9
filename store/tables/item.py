"""Items: the things of the caller's catalog that predictions are about."""

from sqlalchemy import UniqueConstraint
from sqlalchemy.orm import Mapped

from store.database import Base, CreatedAt, Identifier, UtcDateTime


class Item(Base):
    """A catalog's entry, known by the caller's own id."""

    __tablename__ = "items"
    __table_args__ = (UniqueConstraint("catalog", "external_id"),)

    id: Mapped[Identifier]
    catalog: Mapped[str]
    external_id: Mapped[str]
    created_at: Mapped[CreatedAt]
    last_seen_at: Mapped[UtcDateTime]
