"""Limits and rotation of keys, the audit log, and row-level security behind every tenant's reads.

Revision ID: 0020
Revises: 0018
"""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0020"
down_revision: str | None = "0019"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

KEY_COLUMNS: tuple[tuple[str, sa.types.TypeEngine[Any], str], ...] = (
    ("rate_per_minute", sa.Integer(), "Requests in a minute, in the mean. NULL: unlimited."),
    ("burst", sa.Integer(), "Requests at once before that mean counts. NULL: as many as in a minute."),
    ("max_concurrent", sa.Integer(), "Requests under way at once. NULL: unlimited."),
    ("max_queued", sa.Integer(), "Predictions that wait at once. NULL: unlimited."),
    ("rotated_at", sa.DateTime(timezone=True), "When the secret of today was made. NULL: with the key."),
    ("last_used_at", sa.DateTime(timezone=True), "Right to a minute, and seconds late. NULL: never."),
)

# An audit that can be changed proves nothing. What reaches this trigger is a mistake or an intruder.
REFUSE_CHANGES = """
CREATE FUNCTION refuse_audit_changes() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'audit_log is only ever added to' USING ERRCODE = 'insufficient_privilege';
END $$
"""

# Cluster-wide, and perhaps made by another database's migration in the same moment. A managed server whose migrating
# user may not create roles gets it from its administrator before, with the same two statements.
CREATE_ROLE = """
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'torchqueue_tenant') THEN
        BEGIN
            CREATE ROLE torchqueue_tenant NOLOGIN NOBYPASSRLS;
        EXCEPTION WHEN duplicate_object OR unique_violation THEN
            NULL;
        END;
    END IF;
    IF NOT pg_has_role(CURRENT_USER, 'torchqueue_tenant', 'MEMBER') THEN
        GRANT torchqueue_tenant TO CURRENT_USER;
    END IF;
END $$
"""

# Evaluated once a statement. Without a tenant nothing equals NULL, so nothing is seen.
TENANT = "(SELECT nullif(current_setting('torchqueue.api_key_id', true), '')::bigint)"

OWN = f"api_key_id = {TENANT}"

# The rows of these tables belong to tenants, by their own column or by the row that they hang on, which is hidden too.
TENANT_TABLES = {
    "predictions": OWN,
    "feedback": OWN,
    "feedback_history": "prediction_id IN (SELECT prediction_id FROM feedback)",
    "idempotency_keys": OWN,
    "indexed_items": OWN,
    "similarity_indexes": OWN,
    "embeddings": "index_id IN (SELECT id FROM similarity_indexes)",
    "backtests": OWN,
    "backtest_items": "backtest_id IN (SELECT id FROM backtests)",
    "training_examples": "prediction_id IN (SELECT prediction_id FROM feedback)",
    "redrives": "EXISTS (SELECT FROM predictions p WHERE p.id = redrives.prediction_id)",
    "webhook_endpoints": OWN,
    "webhook_deliveries": "endpoint_id IN (SELECT id FROM webhook_endpoints)",
    "webhook_attempts": "delivery_id IN (SELECT id FROM webhook_deliveries)",
}

# Of all, or names without anybody's rows. Keys, their secrets and the audit log are nobody's to read.
SHARED_TABLES = (
    "items",
    "models",
    "model_versions",
    "tunings",
    "gate_verdicts",
    "trainings",
    "workers",
)


def upgrade() -> None:
    """Apply."""
    # First, since each of its statements commits: what failed after some of them can be tried again.
    _build_second_wall()
    for name, kind, comment in KEY_COLUMNS:
        op.add_column("api_keys", sa.Column(name, kind, nullable=True, comment=comment))
    _create_retired_secrets()
    _create_audit_log()


def downgrade() -> None:
    """Revert. The role stays: it is the whole cluster's, and may be another database's."""
    with op.get_context().autocommit_block():
        for table in (*TENANT_TABLES, *SHARED_TABLES):
            op.execute(f"REVOKE ALL ON {table} FROM torchqueue_tenant")
        for table in TENANT_TABLES:
            op.execute(f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY")
            op.execute(f"DROP POLICY IF EXISTS tenant ON {table}")
    op.drop_table("audit_log")
    op.execute("DROP FUNCTION refuse_audit_changes")
    op.drop_table("retired_secrets")
    for name, _, _ in reversed(KEY_COLUMNS):
        op.drop_column("api_keys", name)


def _build_second_wall() -> None:
    # A transaction of its own for each: locks on several tables at once could wait for requests that hold the others.
    with op.get_context().autocommit_block():
        op.execute(CREATE_ROLE)
        for table in SHARED_TABLES:
            op.execute(f"GRANT SELECT ON {table} TO torchqueue_tenant")
        for table, visible in TENANT_TABLES.items():
            op.execute(f"DROP POLICY IF EXISTS tenant ON {table}")
            op.execute(f"CREATE POLICY tenant ON {table} FOR SELECT TO torchqueue_tenant USING ({visible})")
            op.execute(f"-- squawk-ignore prefer-robust-stmts\nALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
            op.execute(f"GRANT SELECT ON {table} TO torchqueue_tenant")


def _create_retired_secrets() -> None:
    op.create_table(
        "retired_secrets",
        _id(),
        sa.Column("api_key_id", sa.BigInteger(), nullable=False),
        sa.Column("secret_sha256", sa.Text(), nullable=False, comment="Hex, as in api_keys."),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False, comment="The end of its grace."),
        _created_at(),
        sa.PrimaryKeyConstraint("id", name="pk_retired_secrets"),
        sa.ForeignKeyConstraint(["api_key_id"], ["api_keys.id"], name="fk_retired_secrets_api_key_id_api_keys"),
    )
    op.create_index("ix_retired_secrets_api_key_id", "retired_secrets", ["api_key_id"])


def _create_audit_log() -> None:
    op.create_table(
        "audit_log",
        _id(),
        sa.Column("action", sa.Text(), nullable=False, comment="Member of schemas.enums.AuditAction."),
        sa.Column("actor", sa.Text(), nullable=False, comment="Name of an API key, or `command line`."),
        sa.Column("api_key_id", sa.BigInteger(), comment="The key that acted. NULL: no key did."),
        sa.Column(
            "subject", sa.Text(), nullable=False, comment="What was acted on, such as key/aB3 or training/0199…."
        ),
        sa.Column("remote_address", sa.Text(), comment="Where the request came from. NULL: no request."),
        sa.Column("request_id", sa.Text(), comment="As the answer's X-Request-Id says it. NULL: no request."),
        sa.Column("before", postgresql.JSONB(), comment="What it was, where that is small."),
        sa.Column("after", postgresql.JSONB(), comment="What it became, where that is small."),
        _created_at(),
        sa.PrimaryKeyConstraint("id", name="pk_audit_log"),
    )
    op.execute(REFUSE_CHANGES)
    op.execute(
        "CREATE TRIGGER refuse_changes BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_log "
        "FOR EACH STATEMENT EXECUTE FUNCTION refuse_audit_changes()"
    )
    op.execute("REVOKE UPDATE, DELETE, TRUNCATE ON audit_log FROM PUBLIC, CURRENT_USER")


def _id() -> sa.Column[int]:
    return sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False)


def _created_at() -> sa.Column[object]:
    return sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False)
