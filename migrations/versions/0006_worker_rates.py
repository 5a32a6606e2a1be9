"""What versions cost on each worker's device, as it measured it.

Revision ID: 0006
Revises: 0005
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0006"
down_revision: str | None = "0005"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    """Apply."""
    op.add_column(
        "workers",
        sa.Column(
            "rates",
            postgresql.JSONB(),
            server_default="{}",
            nullable=False,
            comment="What versions cost here, by name/version; see store.rates.Rate.dump.",
        ),
    )


def downgrade() -> None:
    """Revert."""
    op.drop_column("workers", "rates")
