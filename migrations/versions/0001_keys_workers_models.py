"""Keys, workers, models and their versions.

Revision ID: 0001
Revises:
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0001"
down_revision: str | None = None
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    """Apply."""
    _create_api_keys()
    _create_workers()
    _create_models()
    _create_model_versions()


def downgrade() -> None:
    """Revert."""
    op.drop_constraint("fk_models_champion_id_model_versions", "models")
    op.drop_table("model_versions")
    op.drop_table("models")
    op.drop_table("workers")
    op.drop_table("api_keys")


def _create_api_keys() -> None:
    op.create_table(
        "api_keys",
        _id(),
        sa.Column("public_id", sa.Text(), nullable=False, comment="The part of the key that may appear in logs."),
        sa.Column(
            "secret_sha256",
            sa.Text(),
            nullable=False,
            comment="Hex. A 256-bit random secret needs no slow hash; SHA-256 keeps the check off the profile.",
        ),
        sa.Column("name", sa.Text(), nullable=False, comment="What the owner calls it."),
        sa.Column("scopes", postgresql.ARRAY(sa.Text()), nullable=False, comment="Members of schemas.enums.Scope."),
        _created_at(),
        sa.Column("expires_at", sa.DateTime(timezone=True), comment="NULL: never expires."),
        sa.Column("revoked_at", sa.DateTime(timezone=True), comment="NULL: not revoked."),
        sa.PrimaryKeyConstraint("id", name="pk_api_keys"),
        sa.UniqueConstraint("public_id", name="uq_api_keys_public_id"),
    )


def _create_workers() -> None:
    op.create_table(
        "workers",
        _id(),
        sa.Column(
            "name", sa.Text(), nullable=False, comment="Celery node name, e.g. cpu-0@host; Flower shows the same."
        ),
        sa.Column("role", sa.Text(), nullable=False, comment="Member of schemas.enums.WorkerRole."),
        sa.Column(
            "device", sa.Text(), nullable=False, comment="cuda:N or cpu:N; training and maintenance run on cpu:0."
        ),
        sa.Column("queue", sa.Text(), nullable=False, comment="The queue that only this worker consumes."),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column(
            "pid",
            sa.Integer(),
            nullable=False,
            comment="On that host; lets the supervisor end this life the moment it dies.",
        ),
        sa.Column(
            "models",
            postgresql.ARRAY(sa.Text()),
            server_default="{}",
            nullable=False,
            comment="Loaded on the device, as name/version.",
        ),
        _created_at(),
        sa.Column(
            "lease_expires_at",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="Past it, all that the worker held is queued again.",
        ),
        sa.Column(
            "progress_at",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="When the engine last finished a batch or was idle.",
        ),
        sa.Column("stopped_at", sa.DateTime(timezone=True), comment="NULL: alive as far as we know."),
        sa.Column("stop_reason", sa.Text(), comment="drained, died or lease_expired."),
        sa.PrimaryKeyConstraint("id", name="pk_workers"),
    )
    op.create_index("ix_workers_live", "workers", ["lease_expires_at"], postgresql_where=sa.text("stopped_at IS NULL"))


def _create_models() -> None:
    op.create_table(
        "models",
        _id(),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False, comment="Registered in ml.kinds, e.g. classification."),
        sa.Column("description", sa.Text(), nullable=False),
        _created_at(),
        sa.Column("champion_id", sa.BigInteger(), comment="The version that answers when the client names none."),
        sa.PrimaryKeyConstraint("id", name="pk_models"),
        sa.UniqueConstraint("name", name="uq_models_name"),
    )


def _create_model_versions() -> None:
    op.create_table(
        "model_versions",
        _id(),
        sa.Column("model_id", sa.BigInteger(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False, comment="1, 2, 3 … within its model."),
        sa.Column(
            "config",
            postgresql.JSONB(),
            nullable=False,
            comment="Architecture, input and labels, as ml.spec reads them.",
        ),
        sa.Column("weights_sha256", sa.Text(), nullable=False, comment="Hex; the object store's key, checked at load."),
        sa.Column("weights_bytes", sa.BigInteger(), nullable=False),
        sa.Column(
            "metrics",
            postgresql.JSONB(),
            nullable=False,
            comment="Figures on held-out data, as the training reported them.",
        ),
        sa.Column("source", sa.Text(), nullable=False, comment="bundled, imported or trained."),
        _created_at(),
        sa.PrimaryKeyConstraint("id", name="pk_model_versions"),
        sa.ForeignKeyConstraint(["model_id"], ["models.id"], name="fk_model_versions_model_id_models"),
        sa.UniqueConstraint("model_id", "number", name="uq_model_versions_model_id_number"),
    )
    # The two tables point at each other, so this one key can only follow both.
    op.create_foreign_key("fk_models_champion_id_model_versions", "models", "model_versions", ["champion_id"], ["id"])


def _id() -> sa.Column[int]:
    return sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False)


def _created_at() -> sa.Column[object]:
    return sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False)
