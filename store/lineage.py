"""Lineage, both ways: which predictions made a version, and which versions have learned from a prediction.

A version that went on from another's weights has learned what that one had, so both directions follow `parent_id`
through the trainings that made the versions.
"""

from collections.abc import Collection, Sequence
from uuid import UUID

from sqlalchemy import Select, Text, cast, func, literal, select
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Session, joinedload
from sqlalchemy.types import Uuid

from schemas.enums import TrainingStart
from store.tables.model_version import ModelVersion
from store.tables.training import Training, TrainingExample

CONTINUED = Training.options["start"].astext != cast(literal(str(TrainingStart.SCRATCH)), Text)


def seen_predictions(*version_ids: int) -> Select[UUID]:
    """Select the ids of all predictions that any of these versions has learned from, itself or through its ancestors.

    As a subquery it is the condition for what none of them knows: `Feedback.prediction_id.not_in(seen_predictions(…))`.
    """
    made = (
        select(Training.id, Training.parent_version_id, CONTINUED.label("continued"))
        .where(Training.model_version_id.in_(version_ids))
        .cte("made", recursive=True)
    )
    before = select(Training.id, Training.parent_version_id, CONTINUED).where(
        Training.model_version_id == made.c.parent_version_id, made.c.continued
    )
    made = made.union(before)
    return select(TrainingExample.prediction_id).where(TrainingExample.training_id.in_(select(made.c.id)))


def versions_that_saw(session: Session, prediction_ids: Collection[UUID]) -> Sequence[ModelVersion]:
    """List the versions that have learned from any of these predictions, themselves or through an ancestor."""
    ids = func.unnest(cast(list(prediction_ids), ARRAY(Uuid())))
    saw = (
        select(Training.model_version_id.label("version_id"))
        .join(TrainingExample, TrainingExample.training_id == Training.id)
        .where(TrainingExample.prediction_id.in_(select(ids)), Training.model_version_id.is_not(None))
        .cte("saw", recursive=True)
    )
    saw = saw.union(
        select(Training.model_version_id).where(
            Training.parent_version_id == saw.c.version_id, CONTINUED, Training.model_version_id.is_not(None)
        )
    )
    found = (
        select(ModelVersion)
        .where(ModelVersion.id.in_(select(saw.c.version_id)))
        .options(joinedload(ModelVersion.model))
    )
    return session.scalars(found.order_by(ModelVersion.id)).all()
