"""Trainings with the trigger that guards their states, what they learned from, and what their schedules remember.

Revision ID: 0012
Revises: 0011
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0012"
down_revision: str | None = "0011"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

REFUSE_TRANSITION = """
CREATE FUNCTION refuse_training_transition() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'training % may not go from % to %', OLD.id, OLD.status, NEW.status
        USING ERRCODE = 'check_violation', CONSTRAINT = 'training_transition';
END $$
"""

GUARD_TRANSITION = """
CREATE TRIGGER guard_transition BEFORE UPDATE ON trainings FOR EACH ROW
WHEN (
    (OLD.status IN ('succeeded', 'failed', 'canceled')
        AND (NEW.status <> OLD.status OR NEW.model_version_id IS DISTINCT FROM OLD.model_version_id
             OR NEW.error_code IS DISTINCT FROM OLD.error_code))
    OR (OLD.status = 'queued' AND NEW.status = 'succeeded')
)
EXECUTE FUNCTION refuse_training_transition()
"""

# A version is trained again by the recipe that it names; those from before this revision name none yet.
NAME_RECIPES = """
UPDATE model_versions SET config = config || jsonb_build_object('recipe', config -> 'name')
WHERE source IN ('bundled', 'trained') AND config ? 'name' AND NOT config ? 'recipe'
"""

OPEN = sa.text("status IN ('queued', 'processing')")
STATUSES = "status IN ('queued', 'processing', 'succeeded', 'failed', 'canceled')"
TRIGGERS = "trigger IN ('api', 'command', 'schedule', 'feedback', 'drift')"


def upgrade() -> None:
    """Apply."""
    # The references below lock `models` for a moment; waiting for that moment must not stop requests behind us.
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("CREATE SEQUENCE training_fence")
    op.create_table(
        "trainings",
        *_request_columns(),
        *_run_columns(),
        *_outcome_columns(),
        sa.CheckConstraint(STATUSES, name="status"),
        sa.CheckConstraint(TRIGGERS, name="trigger"),
        sa.ForeignKeyConstraint(["model_id"], ["models.id"], name="fk_trainings_model_id_models"),
        sa.PrimaryKeyConstraint("id", name="pk_trainings"),
    )
    op.create_index("uq_trainings_open", "trainings", ["model_id"], unique=True, postgresql_where=OPEN)
    op.create_index("ix_trainings_model", "trainings", ["model_id", "id"])
    op.create_index(
        "ix_trainings_version",
        "trainings",
        ["model_version_id"],
        postgresql_where=sa.text("model_version_id IS NOT NULL"),
    )
    op.execute(REFUSE_TRANSITION)
    op.execute(GUARD_TRANSITION)
    _create_examples()
    _create_schedules()
    op.execute(NAME_RECIPES)


def downgrade() -> None:
    """Revert."""
    op.execute("UPDATE model_versions SET config = config - 'recipe' WHERE config ? 'recipe'")
    op.drop_table("training_schedules")
    op.drop_table("training_examples")
    op.drop_table("trainings")
    op.execute("DROP FUNCTION refuse_training_transition()")
    op.execute("DROP SEQUENCE training_fence")


def _create_examples() -> None:
    op.create_table(
        "training_examples",
        sa.Column("training_id", sa.Uuid(), nullable=False),
        sa.Column("prediction_id", sa.Uuid(), nullable=False, comment="No reference: partitions are dropped."),
        sa.Column("revision", sa.Integer(), nullable=False, comment="Of its feedback, as the training saw it."),
        sa.ForeignKeyConstraint(
            ["training_id"],
            ["trainings.id"],
            name="fk_training_examples_training_id_trainings",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("training_id", "prediction_id", name="pk_training_examples"),
    )
    op.create_index("ix_training_examples_prediction", "training_examples", ["prediction_id"])


def _create_schedules() -> None:
    op.create_table(
        "training_schedules",
        sa.Column("model_id", sa.BigInteger(), nullable=False),
        sa.Column("cron", sa.Text(), comment="What `ticked_at` belongs to; another line begins anew."),
        _time(
            "ticked_at",
            nullable=False,
            comment="Ticks up to here are done with. Whoever moves it on has fired: compare-and-set.",
        ),
        _time("fired_at", comment="When a tick last became a training."),
        sa.Column("note", sa.Text(), comment="Why the last due trigger became none."),
        _time("noted_at"),
        sa.ForeignKeyConstraint(
            ["model_id"], ["models.id"], name="fk_training_schedules_model_id_models", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("model_id", name="pk_training_schedules"),
    )


def _request_columns() -> list[sa.Column[object]]:
    return [
        sa.Column("id", sa.Uuid(), nullable=False, comment="UUIDv7."),
        sa.Column("model_id", sa.BigInteger(), nullable=False),
        sa.Column(
            "status",
            sa.Text(),
            nullable=False,
            comment="Member of schemas.enums.TrainingStatus; a trigger guards its edges.",
        ),
        sa.Column("trigger", sa.Text(), nullable=False, comment="Member of schemas.enums.TrainingTrigger."),
        sa.Column(
            "actor", sa.Text(), nullable=False, comment="Who asked: the name of an API key, `torchqueue` or `beat`."
        ),
        sa.Column("options", postgresql.JSONB(), nullable=False, comment="As schemas.training_options reads them."),
        sa.Column("seed", sa.BigInteger(), nullable=False),
        sa.Column(
            "parent_version_id",
            sa.BigInteger(),
            comment="The version whose weights or configuration it begins with.",
        ),
        sa.Column(
            "data_sha256",
            sa.Text(),
            comment="Hex; posted tensors in the object store. NULL: base data and feedback.",
        ),
        sa.Column(
            "time_limit_s",
            sa.Double(),
            nullable=False,
            comment="Of computing, from the first start on, resumptions included.",
        ),
        sa.Column("manifest_sha256", sa.Text(), comment="Hex; what it is trained on. NULL until it started."),
        sa.Column("example_count", sa.Integer(), comment="Rows of feedback in the manifest."),
    ]


def _run_columns() -> list[sa.Column[object]]:
    return [
        sa.Column("attempt", sa.SmallInteger(), server_default="0", nullable=False, comment="Claims so far."),
        sa.Column(
            "crash_count",
            sa.SmallInteger(),
            server_default="0",
            nullable=False,
            comment="Claims whose process died since the last checkpoint.",
        ),
        sa.Column("fence", sa.BigInteger(), comment="Token of the last claim; rises with every claim."),
        sa.Column("worker_id", sa.BigInteger(), comment="The life of a worker that claimed it last."),
        sa.Column("device", sa.Text()),
        sa.Column("progress", postgresql.JSONB(), comment="The last step: epoch, epochs, step, steps, loss, metric."),
        sa.Column("checkpoint_sha256", sa.Text(), comment="Hex; where a dead training goes on from."),
        sa.Column("checkpoint_epoch", sa.Integer(), comment="Epochs that are in the checkpoint."),
        sa.Column("log", sa.Text(), server_default="", nullable=False, comment="The end of what its process said."),
    ]


def _outcome_columns() -> list[sa.Column[object]]:
    return [
        sa.Column("model_version_id", sa.BigInteger(), comment="What came of it."),
        sa.Column("metrics", postgresql.JSONB()),
        sa.Column("error_code", sa.Text(), comment="Member of schemas.enums.TrainingErrorCode."),
        sa.Column("error_detail", sa.Text(), comment="A sentence for the client."),
        _time("created_at", nullable=False, server_default=sa.func.now()),
        _time("started_at", comment="Of its first claim."),
        _time("deadline_at", comment="When the time limit is over."),
        _time("finished_at"),
    ]


def _time(name: str, *, nullable: bool = True, **options: object) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable, **options)  # type: ignore[arg-type]
