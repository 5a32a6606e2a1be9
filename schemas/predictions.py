"""A prediction as it is answered."""

from typing import Any

from marshmallow import fields

from schemas.answers import AnswerSchema
from schemas.enums import PredictionStatus, Priority
from schemas.pages import next_cursor_field

EXAMPLE: dict[str, Any] = {
    "id": "0198c9a2-7f3e-7cc1-a4b5-2f6d8e9a0b1c",
    "model": "fashion",
    "version": 1,
    "status": "succeeded",
    "result": {"label": "Sandal", "score": 0.98, "top": [["Sandal", 0.98], ["Sneaker", 0.01]]},
    "error": None,
    "priority": "normal",
    "attempt": 1,
    "cached": False,
    "item": {"catalog": "shop", "external_id": "42"},
    "created_at": "2026-11-20T12:00:00.000000+00:00",
    "started_at": "2026-11-20T12:00:00.003100+00:00",
    "finished_at": "2026-11-20T12:00:00.009900+00:00",
    "timings_ms": {"queued": 3.1, "decode": 1.2, "compute": 4.0, "total": 9.9},
    "device": "cuda:0",
    "feedback": None,
    "assignment_probability": None,
    "shadow_of": None,
    "redrive_of": None,
}

CANCELED_EXAMPLE: dict[str, Any] = {
    **EXAMPLE,
    "status": "canceled",
    "result": None,
    "attempt": 0,
    "cached": False,
    "started_at": None,
    "timings_ms": {"queued": None, "decode": None, "compute": None, "total": 9.9},
    "device": None,
}

PAGE_EXAMPLE: dict[str, Any] = {"data": [EXAMPLE], "next_cursor": None}

QUEUED_EXAMPLE: dict[str, Any] = {
    **EXAMPLE,
    "status": "queued",
    "result": None,
    "attempt": 0,
    "cached": False,
    "started_at": None,
    "finished_at": None,
    "timings_ms": {"queued": None, "decode": None, "compute": None, "total": None},
    "device": None,
    "queue_position": 12,
    "eta_ms": 40.0,
}


class ItemReferenceSchema(AnswerSchema):
    """The caller's own name of what a prediction is about."""

    catalog = fields.String(required=True, metadata={"description": "Which of your catalogs."})
    external_id = fields.String(required=True, metadata={"description": "Your id within the catalog."})


class PredictionErrorSchema(AnswerSchema):
    """Why a prediction failed."""

    code = fields.String(
        required=True, metadata={"description": "Stable, for programs.", "examples": ["invalid_input"]}
    )
    detail = fields.String(required=True, metadata={"description": "A sentence, for people."})


class TimingsSchema(AnswerSchema):
    """Where the time went, in milliseconds; null while it is not known."""

    queued = fields.Float(
        required=True, allow_none=True, metadata={"description": "From acceptance until a worker took it up."}
    )
    decode = fields.Float(required=True, allow_none=True, metadata={"description": "From bytes to a tensor."})
    compute = fields.Float(
        required=True, allow_none=True, metadata={"description": "The forward pass of the batch that it was in."}
    )
    total = fields.Float(required=True, allow_none=True, metadata={"description": "From acceptance to the end."})


class PredictionFeedbackSchema(AnswerSchema):
    """What the right answer was, as somebody told later."""

    label = fields.Raw(required=True, metadata={"description": "The right answer, in the form of the model's kind."})
    is_correct = fields.Boolean(
        required=True,
        allow_none=True,
        metadata={"description": "Whether the answer was right; null where that is a matter of degree."},
    )
    error = fields.Float(
        required=True, allow_none=True, metadata={"description": "How far a number was off; null for other kinds."}
    )
    source = fields.String(required=True, metadata={"description": "Who or what says so."})
    weight = fields.Float(required=True, metadata={"description": "How much a training makes of it."})
    revision = fields.Integer(required=True, metadata={"description": "Rises by one with each other word."})
    created_at = fields.AwareDateTime(required=True, metadata={"description": "When the first word came."})
    updated_at = fields.AwareDateTime(required=True, metadata={"description": "When this revision came."})


class PredictionSchema(AnswerSchema):
    """One request to a model and, once it is terminal, its answer."""

    id = fields.UUID(required=True, metadata={"description": "Sorts by time of acceptance (UUIDv7)."})
    model = fields.String(required=True, metadata={"description": "Name of the model."})
    version = fields.Integer(
        required=True, metadata={"description": "Version that answers, whatever is promoted later."}
    )
    status = fields.Enum(PredictionStatus, by_value=True, required=True)
    result = fields.Dict(
        keys=fields.String(),
        required=True,
        allow_none=True,
        metadata={
            "description": "What the model's kind answers; a classification has `label`, `score` and `top`, "
            "a regression `value`, `low`, `high`, `unit` and `interval`, a similarity `items`, nearest first, "
            "a segmentation `classes`, `picture` and `mask`. Null unless it succeeded."
        },
    )
    error = fields.Nested(PredictionErrorSchema, required=True, allow_none=True)
    priority = fields.Enum(Priority, by_value=True, required=True)
    attempt = fields.Integer(required=True, metadata={"description": "Times that a worker took it up."})
    cached = fields.Boolean(
        required=True, metadata={"description": "Whether it is the answer of an earlier request with the same input."}
    )
    item = fields.Nested(ItemReferenceSchema, required=True, allow_none=True)
    created_at = fields.AwareDateTime(required=True, metadata={"description": "When it was accepted."})
    started_at = fields.AwareDateTime(
        required=True, allow_none=True, metadata={"description": "When a worker took it up last."}
    )
    finished_at = fields.AwareDateTime(
        required=True, allow_none=True, metadata={"description": "When it became terminal; null until then."}
    )
    timings_ms = fields.Nested(TimingsSchema, required=True)
    device = fields.String(
        required=True, allow_none=True, metadata={"description": "Where it was computed, e.g. `cuda:0`."}
    )
    feedback = fields.Nested(
        PredictionFeedbackSchema,
        required=True,
        allow_none=True,
        metadata={"description": "What is known of the right answer; null as long as nobody has told."},
    )
    assignment_probability = fields.Float(
        required=True,
        allow_none=True,
        metadata={
            "description": "With which its version was chosen, where the model's traffic is split; null: not by chance."
        },
    )
    shadow_of = fields.UUID(
        required=True,
        allow_none=True,
        metadata={"description": "The prediction that was answered in its stead; null: it is no shadow's."},
    )
    redrive_of = fields.UUID(
        required=True,
        allow_none=True,
        metadata={"description": "The dead letter that it asks again; null: it is the first of its kind."},
    )


class QueuedPredictionSchema(PredictionSchema):
    """A prediction that is not terminal yet, with a guess at when it will be."""

    queue_position = fields.Integer(required=True, metadata={"description": "Predictions that go before it."})
    eta_ms = fields.Float(
        required=True,
        allow_none=True,
        metadata={"description": "A guess from what finished in the last seconds; null when nothing did."},
    )


class PredictionPageSchema(AnswerSchema):
    """Predictions, newest first."""

    data = fields.List(
        fields.Nested(PredictionSchema), required=True, metadata={"description": "At most `limit` of them."}
    )
    next_cursor = next_cursor_field()
