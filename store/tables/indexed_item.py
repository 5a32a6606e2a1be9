"""Indexed items: what a tenant wants found by similarity, with the photo that each is known by."""

from uuid import UUID

from sqlalchemy import BigInteger, ForeignKey, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from store.database import Base, Identifier, UtcDateTime
from store.tables.item import Item


class IndexedItem(Base):
    """An item in a model's index. Its photo stays, so that a new version can compute its own embedding of it."""

    __tablename__ = "indexed_items"
    __table_args__ = (UniqueConstraint("model_id", "api_key_id", "item_id"),)

    id: Mapped[Identifier]
    model_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("models.id"))
    api_key_id: Mapped[int] = mapped_column(BigInteger, comment="The tenant; other tenants get 404.")
    item_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("items.id"))
    photo_sha256: Mapped[str] = mapped_column(comment="Hex; the photo's key in the object store.")
    photo_bytes: Mapped[int] = mapped_column(comment="Size of the photo.")
    prediction_id: Mapped[UUID] = mapped_column(
        comment="The request that put it, UUIDv7: an older one that finishes later changes nothing."
    )
    put_at: Mapped[UtcDateTime] = mapped_column(comment="When that request was accepted.")

    item: Mapped[Item] = relationship()
