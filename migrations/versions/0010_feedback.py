"""Feedback on predictions, with a trigger that keeps its history.

Revision ID: 0010
Revises: 0009
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0010"
down_revision: str | None = "0009"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

KEEP_HISTORY = """
CREATE FUNCTION keep_feedback_revision() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO feedback_history (
        prediction_id, revision, label, is_correct, error, source, weight, recorded_by, recorded_at, replaced_at)
    VALUES (
        OLD.prediction_id, OLD.revision, OLD.label, OLD.is_correct, OLD.error, OLD.source, OLD.weight,
        OLD.recorded_by, OLD.updated_at, NEW.updated_at);
    NEW.revision := OLD.revision + 1;
    RETURN NEW;
END $$
"""

# Whatever code changes a row, what it said before is kept.
GUARD_HISTORY = """
CREATE TRIGGER keep_revision BEFORE UPDATE ON feedback FOR EACH ROW
WHEN (OLD.label IS DISTINCT FROM NEW.label OR OLD.source <> NEW.source OR OLD.weight <> NEW.weight)
EXECUTE FUNCTION keep_feedback_revision()
"""


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "feedback",
        sa.Column("prediction_id", sa.Uuid(), nullable=False),
        sa.Column(
            "api_key_id", sa.BigInteger(), nullable=False, comment="The prediction's tenant; other tenants get 404."
        ),
        sa.Column("model_id", sa.BigInteger(), nullable=False),
        sa.Column("model_version_id", sa.BigInteger(), nullable=False, comment="The version that answered."),
        sa.Column("item_id", sa.BigInteger(), comment="The prediction's item."),
        *_word_columns(
            {
                "label": "The right answer, in the form of the kind.",
                "is_correct": "Whether the answer was right; NULL where right and wrong are a matter of degree.",
                "error": "How far a number was off, in its unit, without its sign.",
                "source": "Who or what says so, in the caller's own words.",
                "weight": "How much a training makes of it; 1 is usual.",
                "recorded_by": "The API key that sent it.",
            }
        ),
        sa.Column(
            "revision",
            sa.Integer(),
            server_default="1",
            nullable=False,
            comment="1, 2, 3 …: changes with each other word.",
        ),
        _time("predicted_at", comment="When the prediction was accepted."),
        _time("created_at", server_default=sa.func.now()),
        _time("updated_at", server_default=sa.func.now(), comment="When this revision came."),
        sa.PrimaryKeyConstraint("prediction_id", name="pk_feedback"),
    )
    op.create_index(
        "ix_feedback_version_predicted",
        "feedback",
        ["model_version_id", "predicted_at"],
        postgresql_include=["is_correct", "error"],
    )
    op.create_index("ix_feedback_model_updated", "feedback", ["model_id", "updated_at"])
    op.create_index("ix_feedback_item", "feedback", ["item_id"], postgresql_where=sa.text("item_id IS NOT NULL"))
    _create_history()
    op.execute(KEEP_HISTORY)
    op.execute(GUARD_HISTORY)


def downgrade() -> None:
    """Revert."""
    op.drop_table("feedback_history")
    op.drop_table("feedback")
    op.execute("DROP FUNCTION keep_feedback_revision")


def _create_history() -> None:
    op.create_table(
        "feedback_history",
        sa.Column("prediction_id", sa.Uuid(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        *_word_columns({}),
        _time("recorded_at", comment="When it came."),
        _time("replaced_at", server_default=sa.func.now(), comment="When the next came."),
        sa.PrimaryKeyConstraint("prediction_id", "revision", name="pk_feedback_history"),
        sa.ForeignKeyConstraint(
            ["prediction_id"],
            ["feedback.prediction_id"],
            name="fk_feedback_history_prediction_id_feedback",
            ondelete="CASCADE",
        ),
    )


def _word_columns(comments: dict[str, str]) -> list[sa.Column[object]]:
    return [
        sa.Column("label", postgresql.JSONB(), nullable=False, comment=comments.get("label")),
        sa.Column("is_correct", sa.Boolean(), comment=comments.get("is_correct")),
        sa.Column("error", sa.Double(), comment=comments.get("error")),
        sa.Column("source", sa.Text(), nullable=False, comment=comments.get("source")),
        sa.Column("weight", sa.Double(), nullable=False, comment=comments.get("weight")),
        sa.Column("recorded_by", sa.BigInteger(), nullable=False, comment=comments.get("recorded_by")),
    ]


def _time(name: str, **options: object) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=False, **options)  # type: ignore[arg-type]
