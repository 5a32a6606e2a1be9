"""What trained versions proved, and stored requests that were replayed.

Revision ID: 0014
Revises: 0013
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0014"
down_revision: str | None = "0013"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    """Apply."""
    _create_gate_verdicts()
    _create_backtests()
    _create_backtest_items()


def downgrade() -> None:
    """Revert."""
    op.drop_table("backtest_items")
    op.drop_table("backtests")
    op.drop_table("gate_verdicts")


def _create_gate_verdicts() -> None:
    op.create_table(
        "gate_verdicts",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("model_version_id", sa.BigInteger(), nullable=False, comment="The candidate."),
        sa.Column(
            "champion_version_id",
            sa.BigInteger(),
            nullable=True,
            comment="What it was compared with; NULL: the model had no champion.",
        ),
        sa.Column("training_id", sa.Uuid(), nullable=True, comment="The training that made the candidate."),
        sa.Column("outcome", sa.Text(), nullable=False, comment="Member of schemas.enums.GateOutcome."),
        sa.Column("reason", sa.Text(), nullable=False, comment="A sentence for people."),
        sa.Column("policy", sa.Text(), nullable=False, comment="Member of schemas.enums.GatePolicy, as it was."),
        sa.Column(
            "comparisons",
            postgresql.JSONB(),
            nullable=False,
            comment="By set of items: both figures, the gain with its interval, items and p-value.",
        ),
        sa.Column("guards", postgresql.JSONB(), nullable=False, comment="By name: value, limit, whether it held."),
        _created_at(),
        sa.ForeignKeyConstraint(
            ["model_version_id"],
            ["model_versions.id"],
            name="fk_gate_verdicts_model_version_id_model_versions",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_gate_verdicts"),
        sa.UniqueConstraint("model_version_id", name="uq_gate_verdicts_model_version_id"),
    )


def _create_backtests() -> None:
    op.create_table(
        "backtests",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("api_key_id", sa.BigInteger(), nullable=False, comment="The tenant; other tenants get 404."),
        sa.Column("model_id", sa.BigInteger(), nullable=False),
        sa.Column("model_version_id", sa.BigInteger(), nullable=False, comment="The version that is tried."),
        sa.Column("baseline_version_id", sa.BigInteger(), nullable=False, comment="What it is compared with."),
        sa.Column("status", sa.Text(), nullable=False, comment="Member of schemas.enums.BacktestStatus."),
        sa.Column("requests", sa.Integer(), nullable=False, comment="How many it replays."),
        _created_at(),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("status IN ('running', 'succeeded', 'canceled')", name="ck_backtests_status"),
        sa.ForeignKeyConstraint(["model_id"], ["models.id"], name="fk_backtests_model_id_models"),
        sa.PrimaryKeyConstraint("id", name="pk_backtests"),
    )
    op.create_index("ix_backtests_running", "backtests", ["id"], postgresql_where=sa.text("status = 'running'"))


def _create_backtest_items() -> None:
    op.create_table(
        "backtest_items",
        sa.Column("backtest_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("position", sa.Integer(), autoincrement=False, nullable=False, comment="0, 1, 2 … newest first."),
        sa.Column("source_id", sa.Uuid(), nullable=False, comment="The prediction that has the feedback."),
        sa.Column(
            "label",
            postgresql.JSONB(),
            nullable=False,
            comment="What the feedback said when the backtest was made.",
        ),
        sa.Column(
            "candidate_id",
            sa.Uuid(),
            nullable=True,
            comment="Its replay on the version that is tried; NULL: not yet.",
        ),
        sa.Column("baseline_id", sa.Uuid(), nullable=True, comment="Its replay on the baseline; NULL: not yet."),
        sa.Column("candidate_answer", postgresql.JSONB(), nullable=True, comment="A label or a number."),
        sa.Column("baseline_answer", postgresql.JSONB(), nullable=True),
        sa.Column("candidate_score", sa.Float(), nullable=True, comment="1 or 0 for right or wrong; minus the error."),
        sa.Column("baseline_score", sa.Float(), nullable=True),
        sa.Column("candidate_ms", sa.Float(), nullable=True, comment="Decoding and computing, milliseconds."),
        sa.Column("baseline_ms", sa.Float(), nullable=True),
        sa.Column("disagreed", sa.Boolean(), nullable=True, comment="Whether the two gave different answers."),
        sa.Column(
            "skip_reason",
            sa.Text(),
            nullable=True,
            comment="Why nothing could be compared; NULL: it was, or will be.",
        ),
        sa.Column(
            "settled_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="NULL: still to be replayed or answered.",
        ),
        sa.ForeignKeyConstraint(
            ["backtest_id"], ["backtests.id"], name="fk_backtest_items_backtest_id_backtests", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("backtest_id", "position", name="pk_backtest_items"),
    )
    op.create_index(
        "ix_backtest_items_open",
        "backtest_items",
        ["backtest_id", "position"],
        postgresql_where=sa.text("settled_at IS NULL"),
    )
    op.create_index(
        "ix_backtest_items_disagreed",
        "backtest_items",
        ["backtest_id", "position"],
        postgresql_where=sa.text("disagreed"),
    )


def _created_at() -> sa.Column[object]:
    return sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False)
