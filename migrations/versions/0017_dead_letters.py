"""Dead letters that are asked again, workers that serve nobody, and when leases were last looked at.

Revision ID: 0017
Revises: 0015
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0017"
down_revision: str | None = "0015"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

INDEX = "ix_predictions_dead"
OLD_STOP_REASONS = "drained, died or lease_expired."
COLUMNS = "id"
WHERE = "error_code IN ('attempts_exhausted', 'worker_crash')"


def upgrade() -> None:
    """Apply."""
    op.add_column(
        "predictions",
        sa.Column("redrive_of", sa.Uuid(), nullable=True, comment="The dead letter that it asks again."),
    )
    op.add_column(
        "workers",
        sa.Column(
            "state",
            sa.Text(),
            server_default="serving",
            nullable=False,
            comment="Member of schemas.enums.WorkerState.",
        ),
    )
    _explain_stops("Member of schemas.enums.StopReason.", OLD_STOP_REASONS)
    _create_redrives()
    _create_reaper_runs()
    _create_index()


def downgrade() -> None:
    """Revert."""
    # An index of a partitioned table cannot be dropped concurrently; the lock is held for a moment only.
    op.execute(f"-- squawk-ignore require-concurrent-index-deletion, prefer-robust-stmts\nDROP INDEX {INDEX}")
    op.drop_table("reaper_runs")
    op.drop_table("redrives")
    _explain_stops(OLD_STOP_REASONS, "Member of schemas.enums.StopReason.")
    op.drop_column("workers", "state")
    op.drop_column("predictions", "redrive_of")


def _explain_stops(comment: str, before: str) -> None:
    op.alter_column("workers", "stop_reason", comment=comment, existing_comment=before, existing_type=sa.Text())


def _create_redrives() -> None:
    op.create_table(
        "redrives",
        sa.Column("prediction_id", sa.Uuid(), nullable=False, comment="The dead letter; asked again once at most."),
        sa.Column("redrive_id", sa.Uuid(), nullable=False, comment="The prediction that asks the same again."),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.PrimaryKeyConstraint("prediction_id", name="pk_redrives"),
    )


def _create_reaper_runs() -> None:
    op.create_table(
        "reaper_runs",
        sa.Column("id", sa.SmallInteger(), autoincrement=False, nullable=False, comment="Always 1: there is one row."),
        sa.Column("ran_at", sa.DateTime(timezone=True), nullable=False, comment="When leases were last looked at."),
        sa.Column(
            "lenient_until",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="Until then no lease expires: nobody could look, so perhaps nobody could renew.",
        ),
        sa.CheckConstraint("id = 1", name="ck_reaper_runs_single"),
        sa.PrimaryKeyConstraint("id", name="pk_reaper_runs"),
    )


def _create_index() -> None:
    """Build the index without stopping writes, as revision 0013 does: on each partition by itself, then as one."""
    partitions = _partitions()
    op.execute(
        f"-- squawk-ignore require-concurrent-index-creation, prefer-robust-stmts\n"
        f"CREATE INDEX {INDEX} ON ONLY predictions ({COLUMNS}) WHERE {WHERE}"
    )
    with op.get_context().autocommit_block():
        for partition in partitions:
            # What a build that was broken off has left is invalid.
            op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {_part(partition)}")
            op.execute(f"CREATE INDEX CONCURRENTLY {_part(partition)} ON {partition} ({COLUMNS}) WHERE {WHERE}")
    for partition in partitions:
        op.execute(f"ALTER INDEX {INDEX} ATTACH PARTITION {_part(partition)}")


def _part(partition: str) -> str:
    return INDEX.replace("predictions", partition)


def _partitions() -> list[str]:
    """List the partitions; none where statements are only printed."""
    if op.get_context().as_sql:
        return []
    found = sa.text("SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'predictions'::regclass")
    return sorted(op.get_bind().execute(found).scalars())
