"""Tunings of model versions and layouts of worker processes, as measured.

Revision ID: 0003
Revises: 0002
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0003"
down_revision: str | None = "0002"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

TORCH_COMMENT = "Another torch has other kernels."


def upgrade() -> None:
    """Apply."""
    _create_tunings()
    _create_process_layouts()


def downgrade() -> None:
    """Revert."""
    op.drop_table("process_layouts")
    op.drop_table("tunings")


def _create_tunings() -> None:
    op.create_table(
        "tunings",
        _id(),
        sa.Column("model_version_id", sa.BigInteger(), nullable=False, comment="Leads the unique index."),
        sa.Column(
            "device_kind",
            sa.Text(),
            nullable=False,
            comment="Processor, instructions and threads, or the name of the GPU.",
        ),
        sa.Column("torch_version", sa.Text(), nullable=False, comment=TORCH_COMMENT),
        sa.Column(
            "choice", postgresql.JSONB(), nullable=False, comment="What the engine runs, as ml.choices reads it."
        ),
        sa.Column(
            "figures",
            postgresql.JSONB(),
            nullable=False,
            comment="Every way that was measured, the rejected ones too, and why.",
        ),
        sa.Column(
            "complete",
            sa.Boolean(),
            nullable=False,
            comment="False: the time was up; measured on when the worker is idle.",
        ),
        _created_at(),
        sa.ForeignKeyConstraint(
            ["model_version_id"],
            ["model_versions.id"],
            name="fk_tunings_model_version_id_model_versions",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_tunings"),
        sa.UniqueConstraint(
            "model_version_id",
            "device_kind",
            "torch_version",
            name="uq_tunings_model_version_id_device_kind_torch_version",
        ),
    )


def _create_process_layouts() -> None:
    op.create_table(
        "process_layouts",
        _id(),
        sa.Column("host_kind", sa.Text(), nullable=False, comment="Processor, instructions and number of cores."),
        sa.Column("torch_version", sa.Text(), nullable=False, comment=TORCH_COMMENT),
        sa.Column("processes", sa.Integer(), nullable=False, comment="Inference workers."),
        sa.Column("threads", sa.Integer(), nullable=False, comment="Threads inside one operation, in each of them."),
        sa.Column(
            "figures",
            postgresql.JSONB(),
            nullable=False,
            comment="The model, and every layout with what it answered a second.",
        ),
        _created_at(),
        sa.PrimaryKeyConstraint("id", name="pk_process_layouts"),
        sa.UniqueConstraint("host_kind", "torch_version", name="uq_process_layouts_host_kind_torch_version"),
    )


def _id() -> sa.Column[int]:
    return sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False)


def _created_at() -> sa.Column[object]:
    return sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False)
