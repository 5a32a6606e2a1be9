"""Pictures that predictions name by their URL, until they are fetched.

Revision ID: 0019
Revises: 0015
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0019"
down_revision: str | None = "0018"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "fetches",
        sa.Column("prediction_id", sa.Uuid(), nullable=False, comment="Queued, and not run before this row is gone."),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False, comment="Of the URL, with its port; failures are counted by it."),
        sa.Column(
            "run_after",
            sa.DateTime(timezone=True),
            server_default=sa.func.now(),
            nullable=False,
            comment="Not claimed before; while it is held, the end of the attempt.",
        ),
        sa.Column("attempt", sa.SmallInteger(), server_default="0", nullable=False, comment="Claims so far."),
        sa.Column("fence", sa.BigInteger(), nullable=True, comment="Token of the last claim; rises with every claim."),
        sa.Column(
            "worker_id", sa.BigInteger(), nullable=True, comment="The life that holds it; NULL: nobody holds it."
        ),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.PrimaryKeyConstraint("prediction_id", name="pk_fetches"),
    )
    op.create_index("ix_fetches_run_after", "fetches", ["run_after"])


def downgrade() -> None:
    """Revert."""
    op.drop_table("fetches")
