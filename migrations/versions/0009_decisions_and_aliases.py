"""Aliases of versions, where versions come from and why they may not answer, and the log of decisions.

Revision ID: 0009
Revises: 0008
"""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0009"
down_revision: str | None = "0008"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

# Columns that name a version, by table: each gets a foreign key that does not stop writes while it is checked.
REFERENCES = (("models", "challenger_id"), ("models", "upcoming_id"), ("model_versions", "parent_id"))


def upgrade() -> None:
    """Apply."""
    _add_columns()
    for table, column in REFERENCES:
        name = f"fk_{table}_{column}_model_versions"
        op.create_foreign_key(name, table, "model_versions", [column], ["id"], postgresql_not_valid=True)
    # A check of its own transaction, or it would hold the lock that adding the key took.
    with op.get_context().autocommit_block():
        for table, column in REFERENCES:
            op.execute(
                f"-- squawk-ignore prefer-robust-stmts\n"
                f"ALTER TABLE {table} VALIDATE CONSTRAINT fk_{table}_{column}_model_versions"
            )
    _create_decisions()
    # The way back to the champion before this one begins with the champions of today.
    op.execute(
        "INSERT INTO decisions (model_id, model_version_id, action, actor, reason) "
        "SELECT id, champion_id, 'promote', 'torchqueue', 'champion when decisions began to be kept' "
        "FROM models WHERE champion_id IS NOT NULL"
    )


def downgrade() -> None:
    """Revert."""
    op.drop_table("decisions")
    op.drop_column("workers", "load_failures")
    for column in ("upcoming_since", "upcoming_id", "challenger_id"):
        op.drop_column("models", column)
    for column in ("failure", "failed_at", "archive_reason", "archived_at", "training_id", "parent_id"):
        op.drop_column("model_versions", column)


def _add_columns() -> None:
    _add(
        "models",
        "challenger_id",
        sa.BigInteger(),
        "The version that may become champion: it is kept loaded and compared.",
    )
    _add(
        "models",
        "upcoming_id",
        sa.BigInteger(),
        "The version that was promoted and becomes champion once the workers hold it.",
    )
    _add("models", "upcoming_since", sa.DateTime(timezone=True), "When that was decided.")
    _add("model_versions", "parent_id", sa.BigInteger(), "The version whose weights or configuration it began with.")
    _add("model_versions", "training_id", sa.Uuid(), "The training that made it.")
    _add("model_versions", "archived_at", sa.DateTime(timezone=True), "NULL: it may be promoted.")
    _add("model_versions", "archive_reason", sa.Text(), "For people: why it shall not answer.")
    _add("model_versions", "failed_at", sa.DateTime(timezone=True), "NULL: no worker found that it cannot be loaded.")
    _add("model_versions", "failure", sa.Text(), "What the workers said when they could not load it.")
    op.add_column(
        "workers",
        sa.Column(
            "load_failures",
            postgresql.JSONB(),
            server_default="{}",
            nullable=False,
            comment="Why versions that were to be loaded are not, by name/version; null while one is being loaded.",
        ),
    )
    op.alter_column("model_versions", "source", comment="bundled, imported, uploaded or trained.")


def _add(table: str, name: str, kind: sa.types.TypeEngine[Any], comment: str) -> None:
    op.add_column(table, sa.Column(name, kind, comment=comment))


def _create_decisions() -> None:
    op.create_table(
        "decisions",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("model_id", sa.BigInteger(), nullable=False),
        sa.Column(
            "model_version_id",
            sa.BigInteger(),
            comment="The version that it is about. NULL: the whole model.",
        ),
        sa.Column("action", sa.Text(), nullable=False, comment="Member of schemas.enums.DecisionAction."),
        sa.Column("actor", sa.Text(), nullable=False, comment="Name of an API key, or torchqueue, beat or gate."),
        sa.Column("reason", sa.Text(), nullable=False, comment="For people."),
        sa.Column(
            "figures", postgresql.JSONB(), server_default="{}", nullable=False, comment="What it was decided by."
        ),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_decisions"),
        sa.ForeignKeyConstraint(["model_id"], ["models.id"], name="fk_decisions_model_id_models"),
        sa.ForeignKeyConstraint(
            ["model_version_id"], ["model_versions.id"], name="fk_decisions_model_version_id_model_versions"
        ),
    )
    op.create_index("ix_decisions_model_id_id", "decisions", ["model_id", "id"])
