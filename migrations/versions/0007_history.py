"""Reading among millions: indexes for lists and statistics, and the seconds that statistics are kept by.

Revision ID: 0007
Revises: 0006
"""

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from alembic import op

revision: str = "0007"
down_revision: str | None = "0006"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


@dataclass(frozen=True)
class Index:
    """An index of `predictions` and of each of its partitions."""

    name: str
    columns: str
    where: str = ""


ADDED = (
    Index("ix_predictions_version", "model_version_id, id"),
    Index("ix_predictions_key", "api_key_id, model_version_id, id"),
    Index("ix_predictions_ending", "status, id", " WHERE status IN ('failed', 'canceled', 'expired')"),
    Index("ix_predictions_finished", "finished_at", " WHERE finished_at IS NOT NULL"),
)
REPLACED = Index("ix_predictions_model", "model_id, id")


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "finished_seconds",
        sa.Column("second", sa.DateTime(timezone=True), nullable=False, comment="Its beginning."),
        sa.Column("model_version_id", sa.BigInteger(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False, comment="A terminal member of schemas.enums.PredictionStatus."),
        sa.Column(
            "latency_bucket",
            sa.SmallInteger(),
            nullable=False,
            comment="Of store.stats.LATENCY_BUCKET, from acceptance on.",
        ),
        sa.Column("predictions", sa.Integer(), nullable=False, comment="How many."),
        sa.PrimaryKeyConstraint("second", "model_version_id", "status", "latency_bucket", name="pk_finished_seconds"),
    )
    op.create_table(
        "finished_summary",
        sa.Column("id", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column(
            "summarized_to",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="A whole second; what ended later is in no summary yet.",
        ),
        sa.CheckConstraint("id = 1", name="single"),
        sa.PrimaryKeyConstraint("id", name="pk_finished_summary"),
    )
    op.execute("INSERT INTO finished_summary (id, summarized_to) VALUES (1, date_trunc('second', now()))")
    for index in ADDED:
        _create(index)
    _drop(REPLACED)


def downgrade() -> None:
    """Revert."""
    _create(REPLACED)
    for index in ADDED:
        _drop(index)
    op.drop_table("finished_summary")
    op.drop_table("finished_seconds")


def _create(index: Index) -> None:
    """Build an index without stopping writes: on each partition by itself, then as one index of the whole table.

    Of the table alone it is made at once, since the table itself holds no rows; it counts as valid when the
    indexes of all partitions are attached.
    """
    partitions = _partitions()
    op.execute(
        f"-- squawk-ignore require-concurrent-index-creation, prefer-robust-stmts\n"
        f"CREATE INDEX {index.name} ON ONLY predictions ({index.columns}){index.where}"
    )
    with op.get_context().autocommit_block():
        for partition in partitions:
            # What a build that was broken off has left is invalid.
            op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {_part(index, partition)}")
            op.execute(
                f"CREATE INDEX CONCURRENTLY {_part(index, partition)} ON {partition} ({index.columns}){index.where}"
            )
    for partition in partitions:
        op.execute(f"ALTER INDEX {index.name} ATTACH PARTITION {_part(index, partition)}")


def _drop(index: Index) -> None:
    # An index of a partitioned table cannot be dropped concurrently; the lock is held for a moment only.
    op.execute(f"-- squawk-ignore require-concurrent-index-deletion, prefer-robust-stmts\nDROP INDEX {index.name}")


def _part(index: Index, partition: str) -> str:
    return index.name.replace("predictions", partition)


def _partitions() -> list[str]:
    """List the partitions; none where statements are only printed."""
    if op.get_context().as_sql:
        return []
    found = sa.text("SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'predictions'::regclass")
    return sorted(op.get_bind().execute(found).scalars())
