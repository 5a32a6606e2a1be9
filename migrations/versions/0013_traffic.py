"""How a model's traffic is split, what of it each version got, and rows that answer nobody.

Revision ID: 0013
Revises: 0012
"""

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0013"
down_revision: str | None = "0012"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


@dataclass(frozen=True)
class Index:
    """An index of `predictions` and of each of its partitions."""

    name: str
    columns: str
    where: str


# Ordinary predictions have no entry in any of them.
INDEXES = (
    Index("ix_predictions_shadow_of", "shadow_of", "shadow_of IS NOT NULL"),
    Index("ix_predictions_shadow", "model_version_id, id", "shadow_of IS NOT NULL"),
    Index("ix_predictions_backtest", "backtest_id, id", "backtest_id IS NOT NULL"),
)


def upgrade() -> None:
    """Apply."""
    _create_traffic()
    _create_arms()
    _create_minutes()
    op.add_column(
        "predictions",
        sa.Column("shadow_of", sa.Uuid(), nullable=True, comment="The prediction that was answered in its stead."),
    )
    op.add_column(
        "predictions",
        sa.Column(
            "assignment_probability",
            sa.Double(),
            nullable=True,
            comment="With which its version was chosen for it; NULL: the version was not drawn.",
        ),
    )
    op.add_column(
        "predictions",
        sa.Column(
            "backtest_id",
            sa.BigInteger(),
            nullable=True,
            comment="The backtest that it is a row of; it answers nobody.",
        ),
    )
    for index in INDEXES:
        _create(index)


def downgrade() -> None:
    """Revert."""
    for index in INDEXES:
        # An index of a partitioned table cannot be dropped concurrently; the lock is held for a moment only.
        op.execute(f"-- squawk-ignore require-concurrent-index-deletion, prefer-robust-stmts\nDROP INDEX {index.name}")
    for column in ("backtest_id", "assignment_probability", "shadow_of"):
        op.drop_column("predictions", column)
    op.drop_table("traffic_minutes")
    op.drop_table("traffic_arms")
    op.drop_table("traffic")


def _create_traffic() -> None:
    op.create_table(
        "traffic",
        sa.Column("model_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("policy", sa.Text(), nullable=False, comment="Member of schemas.enums.TrafficPolicy."),
        sa.Column("weights", postgresql.JSONB(), nullable=False, comment="Shares by version number; any positive sum."),
        sa.Column(
            "shadows", postgresql.JSONB(), nullable=False, comment="Numbers of versions that compute and never answer."
        ),
        sa.Column("sticky", sa.Text(), nullable=False, comment="Member of schemas.enums.StickyKey."),
        sa.Column("guards", postgresql.JSONB(), nullable=False, comment="As schemas.traffic.Guards reads them."),
        sa.Column("learning", postgresql.JSONB(), nullable=False, comment="As schemas.traffic.Learning reads it."),
        sa.Column(
            "champion_id",
            sa.BigInteger(),
            nullable=True,
            comment="The champion that the split is an experiment against; once another is, it is over.",
        ),
        sa.Column(
            "started_at", sa.DateTime(timezone=True), nullable=False, comment="When these versions began to share."
        ),
        sa.Column(
            "updated_at",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="When the shares were last changed by hand.",
        ),
        sa.CheckConstraint("policy IN ('none', 'fixed', 'learned')", name="ck_traffic_policy"),
        sa.CheckConstraint("sticky IN ('none', 'item', 'api_key', 'header')", name="ck_traffic_sticky"),
        sa.ForeignKeyConstraint(["model_id"], ["models.id"], name="fk_traffic_model_id_models"),
        sa.ForeignKeyConstraint(["champion_id"], ["model_versions.id"], name="fk_traffic_champion_id_model_versions"),
        sa.PrimaryKeyConstraint("model_id", name="pk_traffic"),
    )


def _create_arms() -> None:
    op.create_table(
        "traffic_arms",
        sa.Column("model_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("model_version_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("probability", sa.Double(), nullable=False, comment="With which it is chosen now."),
        sa.Column("posterior", postgresql.JSONB(), nullable=False, comment="What was learned of it, for people."),
        sa.Column("refreshed_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.ForeignKeyConstraint(
            ["model_id"], ["traffic.model_id"], name="fk_traffic_arms_model_id_traffic", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["model_version_id"], ["model_versions.id"], name="fk_traffic_arms_model_version_id_model_versions"
        ),
        sa.PrimaryKeyConstraint("model_id", "model_version_id", name="pk_traffic_arms"),
    )


def _create_minutes() -> None:
    op.create_table(
        "traffic_minutes",
        sa.Column("model_version_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("minute", sa.DateTime(timezone=True), nullable=False, comment="Its beginning."),
        sa.Column("status", sa.Text(), nullable=False, comment="A terminal member of schemas.enums.PredictionStatus."),
        sa.Column(
            "latency_bucket",
            sa.SmallInteger(),
            autoincrement=False,
            nullable=False,
            comment="Of store.stats.LATENCY_BUCKET, from acceptance on.",
        ),
        sa.Column("predictions", sa.BigInteger(), nullable=False, comment="How many."),
        sa.PrimaryKeyConstraint("model_version_id", "minute", "status", "latency_bucket", name="pk_traffic_minutes"),
    )


def _create(index: Index) -> None:
    """Build an index without stopping writes, as revision 0007 does: on each partition by itself, then as one.

    The columns are new, so that each is empty and built in the time of one read of its partition.
    """
    partitions = _partitions()
    op.execute(
        f"-- squawk-ignore require-concurrent-index-creation, prefer-robust-stmts\n"
        f"CREATE INDEX {index.name} ON ONLY predictions ({index.columns}) WHERE {index.where}"
    )
    with op.get_context().autocommit_block():
        for partition in partitions:
            # What a build that was broken off has left is invalid.
            op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {_part(index, partition)}")
            op.execute(
                f"CREATE INDEX CONCURRENTLY {_part(index, partition)} ON {partition} ({index.columns})"
                f" WHERE {index.where}"
            )
    for partition in partitions:
        op.execute(f"ALTER INDEX {index.name} ATTACH PARTITION {_part(index, partition)}")


def _part(index: Index, partition: str) -> str:
    return index.name.replace("predictions", partition)


def _partitions() -> list[str]:
    """List the partitions; none where statements are only printed."""
    if op.get_context().as_sql:
        return []
    found = sa.text("SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'predictions'::regclass")
    return sorted(op.get_bind().execute(found).scalars())
