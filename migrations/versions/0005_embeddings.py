"""Similarity: indexes, the items in them, their embeddings, and which predictions are made for an index.

Revision ID: 0005
Revises: 0004
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from pgvector.sqlalchemy import Vector

revision: str = "0005"
down_revision: str | None = "0004"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    """Apply."""
    # Takes a superuser, unless somebody made it before.
    op.execute("CREATE EXTENSION IF NOT EXISTS vector")
    op.add_column(
        "predictions",
        sa.Column(
            "index_action",
            sa.Text(),
            comment="Member of schemas.enums.IndexAction: what becomes of its embedding. NULL: an ordinary prediction.",
        ),
    )
    _create_similarity_indexes()
    _create_indexed_items()
    _create_embeddings()


def downgrade() -> None:
    """Revert. The extension stays: it may have been there before, and others may use it."""
    op.drop_table("embeddings")
    op.drop_table("indexed_items")
    op.drop_table("similarity_indexes")
    op.drop_column("predictions", "index_action")


def _create_similarity_indexes() -> None:
    op.create_table(
        "similarity_indexes",
        _id(),
        sa.Column("model_version_id", sa.BigInteger(), nullable=False),
        sa.Column("api_key_id", sa.BigInteger(), nullable=False, comment="The tenant; nobody else searches here."),
        sa.Column("dimensions", sa.Integer(), nullable=False, comment="Length of its embeddings."),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_similarity_indexes"),
        sa.ForeignKeyConstraint(
            ["model_version_id"], ["model_versions.id"], name="fk_similarity_indexes_model_version_id_model_versions"
        ),
        sa.UniqueConstraint("model_version_id", "api_key_id", name="uq_similarity_indexes_model_version_id_api_key_id"),
    )


def _create_indexed_items() -> None:
    op.create_table(
        "indexed_items",
        _id(),
        sa.Column("model_id", sa.BigInteger(), nullable=False),
        sa.Column("api_key_id", sa.BigInteger(), nullable=False, comment="The tenant; other tenants get 404."),
        sa.Column("item_id", sa.BigInteger(), nullable=False),
        sa.Column("photo_sha256", sa.Text(), nullable=False, comment="Hex; the photo's key in the object store."),
        sa.Column("photo_bytes", sa.Integer(), nullable=False, comment="Size of the photo."),
        sa.Column(
            "prediction_id",
            sa.Uuid(),
            nullable=False,
            comment="The request that put it, UUIDv7: an older one that finishes later changes nothing.",
        ),
        sa.Column("put_at", sa.DateTime(timezone=True), nullable=False, comment="When that request was accepted."),
        sa.PrimaryKeyConstraint("id", name="pk_indexed_items"),
        sa.ForeignKeyConstraint(["model_id"], ["models.id"], name="fk_indexed_items_model_id_models"),
        sa.ForeignKeyConstraint(["item_id"], ["items.id"], name="fk_indexed_items_item_id_items"),
        sa.UniqueConstraint("model_id", "api_key_id", "item_id", name="uq_indexed_items_model_id_api_key_id_item_id"),
    )


def _create_embeddings() -> None:
    op.create_table(
        "embeddings",
        sa.Column("indexed_item_id", sa.BigInteger(), nullable=False),
        sa.Column("index_id", sa.BigInteger(), nullable=False),
        sa.Column(
            "photo_sha256",
            sa.Text(),
            nullable=False,
            comment="Hex; where the item has another photo by now, this embedding is found by no search.",
        ),
        sa.Column(
            "embedding",
            Vector(),
            nullable=False,
            comment="float32; its length is the index's, which the partition checks.",
        ),
        sa.PrimaryKeyConstraint("indexed_item_id", "index_id", name="pk_embeddings"),
        sa.ForeignKeyConstraint(
            ["indexed_item_id"],
            ["indexed_items.id"],
            name="fk_embeddings_indexed_item_id_indexed_items",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["index_id"], ["similarity_indexes.id"], name="fk_embeddings_index_id_similarity_indexes"
        ),
        postgresql_partition_by="LIST (index_id)",
    )
    # Where a long embedding is kept outside of its row, every distance costs one more read.
    op.execute("ALTER TABLE embeddings ALTER COLUMN embedding SET STORAGE PLAIN")


def _id() -> sa.Column[int]:
    return sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False)
