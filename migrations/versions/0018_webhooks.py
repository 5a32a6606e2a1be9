"""Webhook endpoints, deliveries and attempts, and the triggers that write a delivery with the end that it tells of.

Revision ID: 0018
Revises: 0017
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0018"
down_revision: str | None = "0017"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

# RFC 9562, by milliseconds; Postgres has its own only from version 18 on.
MAKE_UUID7 = """
CREATE FUNCTION make_uuid7() RETURNS uuid LANGUAGE sql VOLATILE AS $$
    SELECT CAST(encode(set_bit(set_bit(overlay(
        uuid_send(gen_random_uuid())
        PLACING substring(int8send(CAST(floor(extract(epoch FROM clock_timestamp()) * 1000) AS bigint)) FROM 3)
        FROM 1 FOR 6), 52, 1), 53, 1), 'hex') AS uuid)
$$
"""

# Of a key that may no longer call, nobody hears anything.
TELL = """
CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$
{declared}
BEGIN
    INSERT INTO webhook_deliveries (endpoint_id, event, subject_id, payload)
    SELECT e.id, {event}, CAST({subject} AS text), jsonb_build_object(
        'type', {event},
        'timestamp', to_char({at} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
        'data', {data})
    FROM webhook_endpoints e JOIN api_keys k ON k.id = e.api_key_id
    WHERE {told} AND e.deleted_at IS NULL
        AND k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > now())
    ON CONFLICT (endpoint_id, subject_id, event) DO NOTHING;
    RETURN NULL;
END $$
"""

ENDED = """jsonb_build_object(
            'id', NEW.id, 'status', NEW.status, 'error_code', NEW.error_code,
            'model', (SELECT m.name FROM models m WHERE m.id = NEW.model_id),
            'version', (SELECT v.number FROM model_versions v WHERE v.id = NEW.model_version_id))"""

PROMOTED = """jsonb_build_object(
            'id', promotion, 'model', NEW.name,
            'version', (SELECT v.number FROM model_versions v WHERE v.id = NEW.champion_id),
            'previous_version', (SELECT v.number FROM model_versions v WHERE v.id = OLD.champion_id))"""

FUNCTIONS = (
    TELL.format(
        name="tell_prediction",
        declared="",
        event="'prediction.' || NEW.status",
        subject="NEW.id",
        at="NEW.finished_at",
        data=ENDED,
        told="""e.api_key_id = NEW.api_key_id
        AND (e.id = NEW.webhook_id OR 'prediction.' || NEW.status = ANY (e.events))""",
    ),
    TELL.format(
        name="tell_training",
        declared="",
        event="'training.' || NEW.status",
        subject="NEW.id",
        at="NEW.finished_at",
        data=ENDED,
        told="'training.' || NEW.status = ANY (e.events)",
    ),
    TELL.format(
        name="tell_promotion",
        # A version may be promoted more than once, so each promotion has an id of its own.
        declared="DECLARE promotion uuid := make_uuid7();",
        event="'version.promoted'",
        subject="promotion",
        at="now()",
        data=PROMOTED,
        told="'version.promoted' = ANY (e.events)",
    ),
)

# The conditions are evaluated without entering the functions: whoever has no endpoint pays next to nothing. Whatever
# statement ends a row, in whatever code, writes what is to be told in the same transaction.
TRIGGERS = (
    """
CREATE TRIGGER tell_end AFTER UPDATE ON predictions FOR EACH ROW
WHEN (NEW.notify AND OLD.status IN ('queued', 'processing')
    AND NEW.status IN ('succeeded', 'failed', 'canceled', 'expired'))
EXECUTE FUNCTION tell_prediction()
""",
    """
CREATE TRIGGER tell_answered AFTER INSERT ON predictions FOR EACH ROW
WHEN (NEW.notify AND NEW.status IN ('succeeded', 'failed', 'canceled', 'expired'))
EXECUTE FUNCTION tell_prediction()
""",
    """
CREATE TRIGGER tell_end AFTER UPDATE ON trainings FOR EACH ROW
WHEN (OLD.status IN ('queued', 'processing') AND NEW.status IN ('succeeded', 'failed', 'canceled'))
EXECUTE FUNCTION tell_training()
""",
    """
CREATE TRIGGER tell_promotion AFTER UPDATE ON models FOR EACH ROW
WHEN (NEW.champion_id IS NOT NULL AND NEW.champion_id IS DISTINCT FROM OLD.champion_id)
EXECUTE FUNCTION tell_promotion()
""",
)


def upgrade() -> None:
    """Apply."""
    op.execute(MAKE_UUID7)
    op.execute("CREATE SEQUENCE webhook_fence")
    _create_endpoints()
    _create_deliveries()
    _create_attempts()
    op.add_column(
        "predictions",
        sa.Column(
            "webhook_id",
            sa.Uuid(),
            nullable=True,
            comment="The webhook endpoint that the request named; it hears of the end, whatever it subscribes to.",
        ),
    )
    op.add_column(
        "predictions",
        sa.Column(
            "notify",
            sa.Boolean(),
            nullable=True,
            comment="Whether its key had a webhook endpoint; a trigger looks for endpoints at its end. NULL: none.",
        ),
    )
    for statement in (*FUNCTIONS, *TRIGGERS):
        op.execute(statement)


def downgrade() -> None:
    """Revert."""
    op.execute("DROP TRIGGER IF EXISTS tell_promotion ON models")
    op.execute("DROP TRIGGER IF EXISTS tell_end ON trainings")
    op.execute("DROP TRIGGER IF EXISTS tell_answered ON predictions")
    op.execute("DROP TRIGGER IF EXISTS tell_end ON predictions")
    for function in ("tell_promotion", "tell_training", "tell_prediction"):
        op.execute(f"DROP FUNCTION IF EXISTS {function}")
    for column in ("notify", "webhook_id"):
        op.drop_column("predictions", column)
    for table in ("webhook_attempts", "webhook_deliveries", "webhook_endpoints"):
        op.drop_table(table)
    op.execute("DROP SEQUENCE IF EXISTS webhook_fence")
    op.execute("DROP FUNCTION IF EXISTS make_uuid7")


def _create_endpoints() -> None:
    op.create_table(
        "webhook_endpoints",
        _id(),
        sa.Column("api_key_id", sa.BigInteger(), nullable=False, comment="The tenant; other tenants get 404."),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), server_default="", nullable=False, comment="For people."),
        sa.Column(
            "events",
            postgresql.ARRAY(sa.Text()),
            nullable=False,
            comment="Members of schemas.enums.WebhookEvent: told for all of the key's rows.",
        ),
        sa.Column(
            "state",
            sa.Text(),
            server_default="enabled",
            nullable=False,
            comment="Member of schemas.enums.WebhookState.",
        ),
        sa.Column("pause_reason", sa.Text(), nullable=True, comment="For people. NULL: it is enabled."),
        sa.Column("secret", sa.LargeBinary(), nullable=False, comment="Signs; encrypted, see store.secret_box."),
        sa.Column(
            "previous_secret",
            sa.LargeBinary(),
            nullable=True,
            comment="Signs as well until its time is over; encrypted.",
        ),
        _time("previous_secret_until"),
        sa.Column(
            "failures", sa.Integer(), server_default="0", nullable=False, comment="Attempts in a row that failed."
        ),
        _time("failing_since", comment="When these began."),
        _time("resting_until", comment="Nothing is sent before: the breaker is open, or the endpoint asked for time."),
        _count("delivered_count", "Deliveries that arrived."),
        _count("failed_count", "Attempts that failed."),
        _count("dead_count", "Deliveries that were given up."),
        _time("created_at", nullable=False, server_default=sa.func.now()),
        _time("deleted_at", comment="NULL: not deleted."),
        sa.CheckConstraint("state IN ('enabled', 'paused')", name="ck_webhook_endpoints_state"),
        sa.ForeignKeyConstraint(["api_key_id"], ["api_keys.id"], name="fk_webhook_endpoints_api_key_id_api_keys"),
        sa.PrimaryKeyConstraint("id", name="pk_webhook_endpoints"),
    )
    op.create_index(
        "ix_webhook_endpoints_key",
        "webhook_endpoints",
        ["api_key_id", "id"],
        postgresql_where=sa.text("deleted_at IS NULL"),
    )


def _create_deliveries() -> None:
    op.create_table(
        "webhook_deliveries",
        _id(),
        sa.Column("endpoint_id", sa.Uuid(), nullable=False),
        sa.Column("event", sa.Text(), nullable=False, comment="Member of schemas.enums.WebhookEvent, or webhook.test."),
        sa.Column(
            "subject_id",
            sa.Text(),
            nullable=False,
            comment="Of the prediction or training, or made for what has no id.",
        ),
        sa.Column("payload", postgresql.JSONB(), nullable=False, comment="The body: ids and a status, no answers."),
        sa.Column(
            "state",
            sa.Text(),
            server_default="pending",
            nullable=False,
            comment="Member of schemas.enums.DeliveryState.",
        ),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False, comment="Claims so far."),
        sa.Column(
            "failures",
            sa.SmallInteger(),
            server_default="0",
            nullable=False,
            comment="Attempts that failed since it was written, or last asked for again.",
        ),
        sa.Column(
            "crash_count",
            sa.SmallInteger(),
            server_default="0",
            nullable=False,
            comment="Claims whose process died, since it was written or asked for again.",
        ),
        _time("next_attempt_at", nullable=False, server_default=sa.text("now()")),
        sa.Column("fence", sa.BigInteger(), nullable=True, comment="Token of the last claim; rises with every claim."),
        sa.Column("worker_id", sa.BigInteger(), nullable=True, comment="The life of a pump that claimed it last."),
        _time("attempt_deadline_at", comment="Past it a claim counts as hung."),
        _time("created_at", nullable=False, server_default=sa.func.now()),
        _time("finished_at"),
        sa.CheckConstraint("state IN ('pending', 'sending', 'delivered', 'dead')", name="ck_webhook_deliveries_state"),
        sa.ForeignKeyConstraint(
            ["endpoint_id"], ["webhook_endpoints.id"], name="fk_webhook_deliveries_endpoint_id_webhook_endpoints"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_webhook_deliveries"),
        sa.UniqueConstraint(
            "endpoint_id", "subject_id", "event", name="uq_webhook_deliveries_endpoint_id_subject_id_event"
        ),
    )
    op.create_index("ix_webhook_deliveries_endpoint", "webhook_deliveries", ["endpoint_id", "id"])
    op.create_index(
        "ix_webhook_deliveries_due",
        "webhook_deliveries",
        ["endpoint_id", "next_attempt_at"],
        postgresql_where=sa.text("state = 'pending'"),
    )
    op.create_index(
        "ix_webhook_deliveries_sending",
        "webhook_deliveries",
        ["endpoint_id"],
        postgresql_where=sa.text("state = 'sending'"),
    )
    op.create_index(
        "ix_webhook_deliveries_finished",
        "webhook_deliveries",
        ["finished_at"],
        postgresql_where=sa.text("finished_at IS NOT NULL"),
    )


def _create_attempts() -> None:
    op.create_table(
        "webhook_attempts",
        sa.Column("delivery_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False, comment="1, 2, 3 ..."),
        sa.Column("fence", sa.BigInteger(), nullable=False, comment="Of its claim."),
        _time("started_at", nullable=False),
        sa.Column("duration_ms", sa.Double(), nullable=True, comment="NULL: it runs, or nobody lived to tell."),
        sa.Column("status_code", sa.SmallInteger(), nullable=True, comment="NULL: there was no answer."),
        sa.Column("error", sa.Text(), nullable=True, comment="What went wrong, for people. NULL: it arrived, or runs."),
        sa.Column("response", sa.Text(), nullable=True, comment="How the answer's body begins."),
        sa.ForeignKeyConstraint(
            ["delivery_id"],
            ["webhook_deliveries.id"],
            name="fk_webhook_attempts_delivery_id_webhook_deliveries",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("delivery_id", "number", name="pk_webhook_attempts"),
    )


def _id() -> sa.Column[object]:
    return sa.Column("id", sa.Uuid(), server_default=sa.text("make_uuid7()"), nullable=False)


def _count(name: str, comment: str) -> sa.Column[object]:
    return sa.Column(name, sa.BigInteger(), server_default="0", nullable=False, comment=comment)


def _time(name: str, *, nullable: bool = True, **options: object) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable, **options)  # type: ignore[arg-type]
