"""Items, idempotency keys and predictions with the trigger that guards their states.

Revision ID: 0002
Revises: 0001
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0002"
down_revision: str | None = "0001"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

REFUSE_TRANSITION = """
CREATE FUNCTION refuse_prediction_transition() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'prediction % may not go from % to %', OLD.id, OLD.status, NEW.status
        USING ERRCODE = 'check_violation', CONSTRAINT = 'prediction_transition';
END $$
"""

# The condition is evaluated without entering the function, so a legal update pays next to nothing.
GUARD_TRANSITION = """
CREATE TRIGGER guard_transition BEFORE UPDATE ON predictions FOR EACH ROW
WHEN (
    (OLD.status IN ('succeeded', 'failed', 'canceled', 'expired')
        AND (NEW.status <> OLD.status OR NEW.result IS DISTINCT FROM OLD.result
             OR NEW.error_code IS DISTINCT FROM OLD.error_code))
    OR (OLD.status = 'queued' AND NEW.status IN ('succeeded', 'failed'))
    OR (OLD.status = 'processing' AND NEW.status = 'expired')
)
EXECUTE FUNCTION refuse_prediction_transition()
"""

QUEUED = sa.text("status = 'queued'")


def upgrade() -> None:
    """Apply."""
    _create_items()
    _create_idempotency_keys()
    _create_predictions()
    _create_prediction_indexes()
    op.execute("CREATE SEQUENCE prediction_fence")
    op.execute(REFUSE_TRANSITION)
    op.execute(GUARD_TRANSITION)


def downgrade() -> None:
    """Revert."""
    op.drop_table("predictions")
    op.execute("DROP FUNCTION refuse_prediction_transition")
    op.execute("DROP SEQUENCE prediction_fence")
    op.drop_table("idempotency_keys")
    op.drop_table("items")


def _create_items() -> None:
    op.create_table(
        "items",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("catalog", sa.Text(), nullable=False),
        sa.Column("external_id", sa.Text(), nullable=False),
        _time("created_at", nullable=False, server_default=sa.func.now()),
        _time("last_seen_at", nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_items"),
        sa.UniqueConstraint("catalog", "external_id", name="uq_items_catalog_external_id"),
    )


def _create_idempotency_keys() -> None:
    op.create_table(
        "idempotency_keys",
        sa.Column("api_key_id", sa.BigInteger(), nullable=False, comment="Keys of tenants never collide."),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column(
            "request_sha256",
            sa.Text(),
            nullable=False,
            comment="Hex; tells a repeat from another request under the same key.",
        ),
        sa.Column("prediction_id", sa.Uuid(), nullable=False),
        _time("created_at", nullable=False, server_default=sa.func.now()),
        sa.PrimaryKeyConstraint("api_key_id", "key", name="pk_idempotency_keys"),
    )


def _create_predictions() -> None:
    op.create_table(
        "predictions",
        *_request_columns(),
        *_queue_columns(),
        *_answer_columns(),
        sa.CheckConstraint("priority IN ('interactive', 'normal', 'bulk')", name="ck_predictions_priority"),
        sa.CheckConstraint(
            "status IN ('queued', 'processing', 'succeeded', 'failed', 'canceled', 'expired')",
            name="ck_predictions_status",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_predictions"),
        postgresql_partition_by="RANGE (id)",
    )


def _request_columns() -> list[sa.Column[object]]:
    return [
        sa.Column("id", sa.Uuid(), nullable=False, comment="UUIDv7, made by the web process that accepts."),
        sa.Column("api_key_id", sa.BigInteger(), nullable=False, comment="The tenant; other tenants get 404."),
        sa.Column("model_id", sa.BigInteger(), nullable=False),
        sa.Column("model_version_id", sa.BigInteger(), nullable=False),
        sa.Column("item_id", sa.BigInteger(), comment="NULL: about no item of a catalog."),
        sa.Column(
            "status",
            sa.Text(),
            nullable=False,
            comment="Member of schemas.enums.PredictionStatus; a trigger guards its edges.",
        ),
        sa.Column("priority", sa.Text(), nullable=False, comment="Member of schemas.enums.Priority."),
        sa.Column("input", postgresql.JSONB(), comment="A JSON input; NULL for a file."),
        sa.Column("input_sha256", sa.Text(), comment="Hex; a file's key in the object store."),
        sa.Column("input_bytes", sa.Integer(), comment="Size of the file."),
        sa.Column("reply_channel", sa.Text(), comment="Redis channel of the web process that accepted."),
    ]


def _queue_columns() -> list[sa.Column[object]]:
    return [
        _time(
            "claim_order",
            nullable=False,
            comment="Created plus a delay by priority: the least goes first, so that waiting raises a row's rank.",
        ),
        _time("run_after", nullable=False, comment="Not claimed before; moves back after a transient error."),
        _time("deadline_at", comment="Past it a queued row expires."),
        sa.Column("attempt", sa.SmallInteger(), server_default="0", nullable=False, comment="Claims so far."),
        sa.Column(
            "crash_count",
            sa.SmallInteger(),
            server_default="0",
            nullable=False,
            comment="Claims whose process died; above 0 the row runs alone.",
        ),
        sa.Column("fence", sa.BigInteger(), comment="Token of the last claim; rises with every claim."),
        sa.Column("worker_id", sa.BigInteger(), comment="The life of a worker that claimed it last."),
        _time("attempt_deadline_at", comment="Past it a claim counts as hung."),
        sa.Column("device", sa.Text()),
    ]


def _answer_columns() -> list[sa.Column[object]]:
    return [
        sa.Column("result", postgresql.JSONB()),
        sa.Column("error_code", sa.Text(), comment="Member of schemas.enums.ErrorCode."),
        sa.Column("error_detail", sa.Text(), comment="A sentence for the client."),
        sa.Column("decode_ms", sa.Double()),
        sa.Column("compute_ms", sa.Double()),
        _time("created_at", nullable=False, server_default=sa.func.now()),
        _time("started_at"),
        _time("finished_at"),
    ]


def _create_prediction_indexes() -> None:
    # The most urgent row of all, and the batch of its version, are both read in index order.
    op.create_index("ix_predictions_queue", "predictions", ["claim_order", "id"], postgresql_where=QUEUED)
    op.create_index(
        "ix_predictions_version_queue",
        "predictions",
        ["model_version_id", "claim_order", "id"],
        postgresql_where=QUEUED,
    )
    op.create_index(
        "ix_predictions_held", "predictions", ["worker_id"], postgresql_where=sa.text("status = 'processing'")
    )
    op.create_index(
        "ix_predictions_deadline",
        "predictions",
        ["deadline_at"],
        postgresql_where=sa.text("status = 'queued' AND deadline_at IS NOT NULL"),
    )
    op.create_index(
        "ix_predictions_item", "predictions", ["item_id", "id"], postgresql_where=sa.text("item_id IS NOT NULL")
    )
    op.create_index("ix_predictions_model", "predictions", ["model_id", "id"])


def _time(name: str, *, nullable: bool = True, **options: object) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable, **options)  # type: ignore[arg-type]
