"""Feedback on the wire: what the right answer was, bulk files of it, and the accuracy that follows."""

from typing import Any

from marshmallow import Schema, fields, validate

from schemas.answers import AnswerSchema
from schemas.client_names import NAME
from schemas.predictions import EXAMPLE as PREDICTION_EXAMPLE
from schemas.predictions import PredictionFeedbackSchema

#: Most that a training makes of one correction.
HEAVIEST = 1000.0

#: Longest window that figures are asked for: as long as feedback is kept anywhere.
LONGEST_WINDOW_S = 366 * 24 * 3600

DAY_S = 24 * 3600

PREDICTION_ID = PREDICTION_EXAMPLE["id"]

EXAMPLE: dict[str, Any] = {
    "prediction": PREDICTION_ID,
    "model": "fashion",
    "version": 1,
    "label": "Sneaker",
    "is_correct": False,
    "error": None,
    "source": "returns desk",
    "weight": 1.0,
    "revision": 2,
    "created_at": "2026-11-20T18:00:00.000000+00:00",
    "updated_at": "2026-11-21T09:30:00.000000+00:00",
    "history": [
        {
            "label": "Sandal",
            "is_correct": True,
            "error": None,
            "source": "shop",
            "weight": 1.0,
            "revision": 1,
            "recorded_at": "2026-11-20T18:00:00.000000+00:00",
            "replaced_at": "2026-11-21T09:30:00.000000+00:00",
        }
    ],
}

NDJSON_EXAMPLE = (
    f'{{"prediction": "{PREDICTION_ID}", "label": "Sneaker"}}\n'
    '{"catalog": "shop", "external_id": "42", "label": "Bag", "source": "returns desk", "weight": 2}\n'
)

CSV_EXAMPLE = f"prediction,label,source\n{PREDICTION_ID},Sneaker,returns desk\n"

BULK_EXAMPLE: dict[str, Any] = {
    "rows": 3,
    "created": 1,
    "revised": 0,
    "repeated": 1,
    "refused": 1,
    "errors": [
        {
            "line": 2,
            "type": "invalid-label",
            "detail": "must be one of the version's labels, not 'Sock': T-shirt/top, Trouser, Pullover",
        }
    ],
}

ACCURACY_EXAMPLE: dict[str, Any] = {
    "model": "fashion",
    "since": "2026-11-20T12:00:00.000000+00:00",
    "until": "2026-11-21T12:00:00.000000+00:00",
    "versions": [
        {
            "version": 1,
            "feedback": 800,
            "correct": 744,
            "accuracy": 0.93,
            "accuracy_interval": [0.9102, 0.9457],
            "mean_absolute_error": None,
            "series": [
                {
                    "since": "2026-11-20T12:00:00.000000+00:00",
                    "feedback": 800,
                    "correct": 744,
                    "accuracy": 0.93,
                    "accuracy_interval": [0.9102, 0.9457],
                    "mean_absolute_error": None,
                }
            ],
        }
    ],
}


class FeedbackBodySchema(Schema):
    """What the right answer was."""

    label = fields.Raw(
        required=True,
        metadata={
            "description": "In the form of the model's kind. Classification: one of its labels. Regression: a number. "
            "Similarity: the right item as `catalog/external_id`, or whether the nearest is relevant. Segmentation: "
            "the list of the labels that are in the picture.",
            "examples": ["Sneaker"],
        },
    )
    source = fields.String(
        load_default="api",
        validate=NAME,
        metadata={"description": "Who or what says so, in your own words; `api` by default."},
    )
    weight = fields.Float(
        load_default=1.0,
        validate=validate.Range(min=0, min_inclusive=False, max=HEAVIEST),
        metadata={"description": "How much a training makes of it, above 0; 1 by default."},
    )


class FeedbackRevisionSchema(AnswerSchema):
    """What was said before."""

    label = fields.Raw(required=True, metadata={"description": "As it was sent."})
    is_correct = fields.Boolean(
        required=True, allow_none=True, metadata={"description": "Whether the answer was right by it."}
    )
    error = fields.Float(required=True, allow_none=True, metadata={"description": "How far a number was off by it."})
    source = fields.String(required=True, metadata={"description": "Who or what said so."})
    weight = fields.Float(required=True, metadata={"description": "How much a training made of it."})
    revision = fields.Integer(required=True, metadata={"description": "Its number, from 1 on."})
    recorded_at = fields.AwareDateTime(required=True, metadata={"description": "When it came."})
    replaced_at = fields.AwareDateTime(required=True, metadata={"description": "When the next came."})


class FeedbackSchema(PredictionFeedbackSchema):
    """The latest word on a prediction, and those before."""

    prediction = fields.UUID(required=True, metadata={"description": "Id of the prediction."})
    model = fields.String(required=True, metadata={"description": "Name of its model."})
    version = fields.Integer(required=True, metadata={"description": "Version that answered."})
    history = fields.List(
        fields.Nested(FeedbackRevisionSchema),
        required=True,
        metadata={"description": "What was said before, newest first."},
    )


class BulkErrorSchema(AnswerSchema):
    """A line that was refused."""

    line = fields.Integer(required=True, metadata={"description": "Number of the line, from 1 on."})
    type = fields.String(
        required=True, metadata={"description": "As in a problem document.", "examples": ["malformed-body"]}
    )
    detail = fields.String(required=True, metadata={"description": "A sentence that says what to do."})


class BulkFeedbackSchema(AnswerSchema):
    """What became of the lines."""

    rows = fields.Integer(required=True, metadata={"description": "Lines that were read, without empty ones."})
    created = fields.Integer(required=True, metadata={"description": "Predictions that had no feedback before."})
    revised = fields.Integer(required=True, metadata={"description": "Predictions of which another label was known."})
    repeated = fields.Integer(
        required=True,
        metadata={"description": "Lines that changed nothing: known already, or overtaken by a later line."},
    )
    refused = fields.Integer(required=True, metadata={"description": "Lines that were not stored."})
    errors = fields.List(
        fields.Nested(BulkErrorSchema), required=True, metadata={"description": "Of the first refused lines, why."}
    )


class AccuracyQueryArgsSchema(Schema):
    """Which span of time."""

    window_s = fields.Integer(
        load_default=DAY_S,
        validate=validate.Range(min=1, max=LONGEST_WINDOW_S),
        metadata={"description": "Predictions of so many last seconds; a day by default."},
    )
    steps = fields.Integer(
        load_default=1,
        validate=validate.Range(min=1, max=500),
        metadata={"description": "Equal parts of the window, each with figures of its own; 1 by default."},
    )


class AccuracyFiguresSchema(AnswerSchema):
    """How right answers were."""

    feedback = fields.Integer(required=True, metadata={"description": "Predictions with feedback."})
    correct = fields.Integer(required=True, metadata={"description": "Of these, how many were right."})
    accuracy = fields.Float(
        required=True,
        allow_none=True,
        metadata={"description": "Share that was right; null where there is no right and wrong, or no feedback."},
    )
    accuracy_interval = fields.List(
        fields.Float(),
        required=True,
        allow_none=True,
        metadata={"description": "Both ends of its 95 % interval (Wilson)."},
    )
    mean_absolute_error = fields.Float(
        required=True, allow_none=True, metadata={"description": "How far numbers were off; null for other kinds."}
    )


class AccuracyStepSchema(AccuracyFiguresSchema):
    """A part of the window."""

    since = fields.AwareDateTime(required=True, metadata={"description": "Its beginning."})


class VersionAccuracySchema(AccuracyFiguresSchema):
    """How right one version was."""

    version = fields.Integer(required=True, metadata={"description": "Number of the version."})
    series = fields.List(
        fields.Nested(AccuracyStepSchema),
        required=True,
        metadata={"description": "By part of the window; parts without feedback are left out."},
    )


class AccuracySchema(AnswerSchema):
    """How right the versions of a model were, by the feedback on their predictions."""

    model = fields.String(required=True, metadata={"description": "Name of the model."})
    since = fields.AwareDateTime(required=True, metadata={"description": "Beginning of the window."})
    until = fields.AwareDateTime(required=True, metadata={"description": "Its end."})
    versions = fields.List(
        fields.Nested(VersionAccuracySchema),
        required=True,
        metadata={"description": "Newest first; those without feedback are left out."},
    )
