"""Drift of answers, and what forgetting an item leaves to be done.

Revision ID: 0011
Revises: 0010
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0011"
down_revision: str | None = "0010"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    """Apply."""
    _create_monitors()
    _create_alarms()
    op.create_table(
        "forgotten_objects",
        sa.Column("sha256", sa.Text(), nullable=False, comment="Hex; the object store's key."),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.PrimaryKeyConstraint("sha256", name="pk_forgotten_objects"),
    )
    # Forgetting a prediction looks for its keys; a build that was broken off leaves an invalid index behind.
    with op.get_context().autocommit_block():
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS ix_idempotency_keys_prediction_id")
        op.execute(
            "CREATE INDEX CONCURRENTLY IF NOT EXISTS ix_idempotency_keys_prediction_id"
            " ON idempotency_keys (prediction_id)"
        )


def downgrade() -> None:
    """Revert."""
    op.drop_index("ix_idempotency_keys_prediction_id", "idempotency_keys")
    op.drop_table("forgotten_objects")
    op.drop_table("drift_alarms")
    op.drop_table("drift_monitors")


def _create_monitors() -> None:
    op.create_table(
        "drift_monitors",
        sa.Column("model_version_id", sa.BigInteger(), nullable=False),
        sa.Column("model_id", sa.BigInteger(), nullable=False),
        sa.Column(
            "since",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="When it was promoted; a later promotion begins anew.",
        ),
        _json("reference", "{}", "What is usual, as store.drift writes it; whole once `answers` are enough."),
        _json("window", "{}", "The shares of labels at the last check."),
        _json("measures", "[]", "What the last check found."),
        _json("checks_over", "{}", "By measure, consecutive checks over the threshold; below 0, under it."),
        sa.Column("last_id", sa.Uuid(), comment="The newest answer whose shape was checked."),
        sa.Column("feedback_checked_at", sa.DateTime(timezone=True), comment="Feedback from before was checked."),
        sa.Column("checked_at", sa.DateTime(timezone=True), comment="NULL: not yet."),
        sa.PrimaryKeyConstraint("model_version_id", name="pk_drift_monitors"),
        sa.ForeignKeyConstraint(
            ["model_version_id"], ["model_versions.id"], name="fk_drift_monitors_model_version_id_model_versions"
        ),
        sa.ForeignKeyConstraint(["model_id"], ["models.id"], name="fk_drift_monitors_model_id_models"),
    )


def _create_alarms() -> None:
    op.create_table(
        "drift_alarms",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("model_id", sa.BigInteger(), nullable=False),
        sa.Column("model_version_id", sa.BigInteger(), nullable=False),
        sa.Column("measure", sa.Text(), nullable=False, comment="Member of schemas.enums.DriftMeasure."),
        sa.Column("value", sa.Double(), nullable=False, comment="When it was raised."),
        sa.Column("threshold", sa.Double(), nullable=False),
        sa.Column("figures", postgresql.JSONB(), nullable=False, comment="All that the check found of the measure."),
        sa.Column("opened_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.Column("closed_at", sa.DateTime(timezone=True), comment="NULL: it is open."),
        sa.Column("close_reason", sa.Text()),
        sa.PrimaryKeyConstraint("id", name="pk_drift_alarms"),
        sa.ForeignKeyConstraint(["model_id"], ["models.id"], name="fk_drift_alarms_model_id_models"),
        sa.ForeignKeyConstraint(
            ["model_version_id"], ["model_versions.id"], name="fk_drift_alarms_model_version_id_model_versions"
        ),
    )
    op.create_index("ix_drift_alarms_model_id_id", "drift_alarms", ["model_id", "id"])
    op.create_index(
        "uq_drift_alarms_open",
        "drift_alarms",
        ["model_version_id", "measure"],
        unique=True,
        postgresql_where=sa.text("closed_at IS NULL"),
    )


def _json(name: str, default: str, comment: str) -> sa.Column[object]:
    return sa.Column(name, postgresql.JSONB(), server_default=default, nullable=False, comment=comment)
