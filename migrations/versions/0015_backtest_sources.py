"""An index by which forgetting an item finds its replays.

Revision ID: 0015
Revises: 0014
"""

from collections.abc import Sequence

from alembic import op

revision: str = "0015"
down_revision: str | None = "0014"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

INDEX = "ix_backtest_items_source_id"


def upgrade() -> None:
    """Build the index."""
    # Without a lock that would keep backtests from going on.
    with op.get_context().autocommit_block():
        op.create_index(INDEX, "backtest_items", ["source_id"], postgresql_concurrently=True, if_not_exists=True)


def downgrade() -> None:
    """Drop it."""
    with op.get_context().autocommit_block():
        op.drop_index(INDEX, postgresql_concurrently=True, if_exists=True)
