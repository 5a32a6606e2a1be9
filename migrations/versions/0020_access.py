"""Limits and rotation of keys, and the audit log.

Revision ID: 0020
Revises: 0015
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


def upgrade() -> None:
    """Apply."""
    for name, kind, comment in KEY_COLUMNS:
        op.add_column("api_keys", sa.Column(name, kind, nullable=True, comment=comment))
    _create_retired_secrets()
    _create_audit_log()


def downgrade() -> None:
    """Revert."""
    op.drop_table("audit_log")
    op.execute("DROP FUNCTION refuse_audit_changes")
    op.drop_table("retired_secrets")
    for name, _, _ in reversed(KEY_COLUMNS):
        op.drop_column("api_keys", name)


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
