"""What forgetting an item answers."""

from typing import Any

from marshmallow import fields

from schemas.answers import AnswerSchema
from schemas.predictions import ItemReferenceSchema

EXAMPLE: dict[str, Any] = {
    "catalog": "shop",
    "external_id": "42",
    "predictions": 3,
    "canceled": 0,
    "feedback": 2,
    "feedback_history": 1,
    "index_entries": 1,
    "embeddings": 2,
    "idempotency_keys": 0,
    "objects": {"removed": 2, "kept": 1, "pending": 0},
    "versions": [{"model": "fashion", "version": 3}],
    "trainings": [{"model": "fashion", "id": "0198a1c2-7d3e-7f00-8000-00000000000a"}],
}


class ForgottenObjectsSchema(AnswerSchema):
    """What became of the files."""

    removed = fields.Integer(required=True, metadata={"description": "Gone."})
    kept = fields.Integer(required=True, metadata={"description": "Used by a row that is not about the item."})
    pending = fields.Integer(required=True, metadata={"description": "Removed within minutes."})


class LearnedVersionSchema(AnswerSchema):
    """A version that had learned from the item."""

    model = fields.String(required=True, metadata={"description": "Name of the model."})
    version = fields.Integer(required=True, metadata={"description": "Number of the version."})


class CanceledTrainingSchema(AnswerSchema):
    """A training that was learning from the item, and is cancelled."""

    model = fields.String(required=True, metadata={"description": "Name of the model."})
    id = fields.UUID(required=True, metadata={"description": "Of the training."})


class ForgottenItemSchema(ItemReferenceSchema):
    """What went with an item. Nothing of it is kept but that something was forgotten."""

    predictions = fields.Integer(
        required=True, metadata={"description": "Predictions about it, with copies by shadow versions and backtests."}
    )
    canceled = fields.Integer(required=True, metadata={"description": "Of these, how many were still open."})
    feedback = fields.Integer(required=True, metadata={"description": "Predictions that had feedback."})
    feedback_history = fields.Integer(required=True, metadata={"description": "Earlier revisions of it."})
    index_entries = fields.Integer(required=True, metadata={"description": "Indexes that it was in."})
    embeddings = fields.Integer(required=True, metadata={"description": "Places in the spaces of versions."})
    idempotency_keys = fields.Integer(required=True, metadata={"description": "Keys of requests about it."})
    objects = fields.Nested(ForgottenObjectsSchema, required=True)
    versions = fields.List(
        fields.Nested(LearnedVersionSchema),
        required=True,
        metadata={"description": "Versions that had learned from it; train others in their place to undo that too."},
    )
    trainings = fields.List(
        fields.Nested(CanceledTrainingSchema),
        required=True,
        metadata={"description": "Trainings under way that were learning from it: cancelled; ask for them again."},
    )
