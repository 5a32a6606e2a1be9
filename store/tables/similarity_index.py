"""Similarity indexes: what one key searches with one version of a model."""

from sqlalchemy import BigInteger, ForeignKey, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from store.database import Base, CreatedAt, Identifier


class SimilarityIndex(Base):
    """One space of one tenant. Its embeddings are a partition of their own, `embeddings_<id>`, with its own HNSW graph.

    Embeddings of two versions lie in different spaces and may differ in length, so no two versions share one.
    """

    __tablename__ = "similarity_indexes"
    __table_args__ = (UniqueConstraint("model_version_id", "api_key_id"),)

    id: Mapped[Identifier]
    model_version_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("model_versions.id"))
    api_key_id: Mapped[int] = mapped_column(BigInteger, comment="The tenant; nobody else searches here.")
    dimensions: Mapped[int] = mapped_column(comment="Length of its embeddings.")
    created_at: Mapped[CreatedAt]
