"""Batch ceilings: how many items fit one forward.

Revision ID: 0004
Revises: 0003
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0004"
down_revision: str | None = "0003"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "batch_ceilings",
        sa.Column("model_version_id", sa.BigInteger(), nullable=False),
        sa.Column("device_kind", sa.Text(), nullable=False, comment="What it is and its memory, e.g. cpu 16 GiB."),
        sa.Column("shape", sa.Text(), nullable=False, comment="Of one item, e.g. 3x224x224."),
        sa.Column("items", sa.Integer(), nullable=False, comment="Most items in one forward."),
        sa.Column(
            "failures",
            sa.Integer(),
            nullable=False,
            comment="How often memory ran short; the next try waits longer each time.",
        ),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.ForeignKeyConstraint(
            ["model_version_id"],
            ["model_versions.id"],
            name="fk_batch_ceilings_model_version_id_model_versions",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("model_version_id", "device_kind", "shape", name="pk_batch_ceilings"),
    )


def downgrade() -> None:
    """Revert."""
    op.drop_table("batch_ceilings")
