"""Embeddings: where a version of a model places the photo of an item."""

from pgvector.sqlalchemy import Vector
from sqlalchemy import BigInteger, ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from store.database import Base


class Embedding(Base):
    """A photo in one index. Partitioned by the index, so that a search reads nobody else's rows."""

    __tablename__ = "embeddings"
    __table_args__ = {"postgresql_partition_by": "LIST (index_id)"}  # noqa: RUF012 - SQLAlchemy declares it so.

    indexed_item_id: Mapped[int] = mapped_column(
        BigInteger, ForeignKey("indexed_items.id", ondelete="CASCADE"), primary_key=True
    )
    index_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("similarity_indexes.id"), primary_key=True)
    photo_sha256: Mapped[str] = mapped_column(
        comment="Hex; where the item has another photo by now, this embedding is found by no search."
    )
    embedding: Mapped[list[float]] = mapped_column(
        Vector(), comment="float32; its length is the index's, which the partition checks."
    )
