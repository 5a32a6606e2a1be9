"""Where a model runs, and whether an answer came from memory.

Revision ID: 0008
Revises: 0007
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0008"
down_revision: str | None = "0007"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    """Apply."""
    op.add_column(
        "models",
        sa.Column(
            "settings",
            postgresql.JSONB(),
            server_default="{}",
            nullable=False,
            comment="Where it runs and what is remembered, as schemas.model_settings reads it.",
        ),
    )
    op.add_column(
        "predictions",
        sa.Column(
            "cached",
            sa.Boolean(),
            server_default=sa.false(),
            nullable=False,
            comment="Answered with the result of an earlier prediction of the same input.",
        ),
    )


def downgrade() -> None:
    """Revert."""
    op.drop_column("predictions", "cached")
    op.drop_column("models", "settings")
