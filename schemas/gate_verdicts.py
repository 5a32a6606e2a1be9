"""What the gate said of a version, on the wire."""

from typing import Any

from marshmallow import fields

from schemas.answers import AnswerSchema
from schemas.enums import GateOutcome, GatePolicy

EXAMPLE: dict[str, Any] = {
    "outcome": "challenger",
    "reason": "better: accuracy 0.8735 against 0.8010 on 2,000 items of held_out, gain +0.0725 (+0.0561 to +0.0889)",
    "policy": "manual",
    "champion": 1,
    "training": "0198c9a2-7f3e-7cc1-a4b5-2f6d8e9a0b1c",
    "comparisons": [
        {
            "name": "held_out",
            "source": "validation images of Fashion-MNIST",
            "metric": "accuracy",
            "judged": True,
            "items": 2000,
            "candidate": 0.8735,
            "baseline": 0.801,
            "gain": 0.0725,
            "low": 0.0561,
            "high": 0.0889,
            "confidence": 0.975,
            "p_value": 1.3e-22,
        }
    ],
    "guards": [
        {
            "name": "latency",
            "value": 1.02,
            "limit": 1.5,
            "held": True,
            "detail": "an item takes 1.02 times as long, 0.62 ms against 0.61 ms",
        }
    ],
    "created_at": "2026-11-20T12:00:00.000000+00:00",
}


class GainSchema(AnswerSchema):
    """How much better one version was than another on the same items."""

    items = fields.Integer(required=True, metadata={"description": "That both answered."})
    candidate = fields.Float(required=True, metadata={"description": "The figure of the version that is tried."})
    baseline = fields.Float(required=True, metadata={"description": "The figure of what it is compared with."})
    gain = fields.Float(
        required=True,
        metadata={
            "description": "Above 0 the tried version is better. A difference of accuracy or score; for a regression, "
            "a share of the baseline's mean absolute error."
        },
    )
    low = fields.Float(
        required=True, allow_none=True, metadata={"description": "Where the gain's interval begins; null: unknown."}
    )
    high = fields.Float(
        required=True, allow_none=True, metadata={"description": "Where the gain's interval ends; null: unknown."}
    )
    confidence = fields.Float(required=True, metadata={"description": "Of the interval, 0..1."})
    p_value = fields.Float(
        required=True,
        metadata={"description": "How likely such a difference, or a larger one, is if neither is better."},
    )


class GateComparisonSchema(GainSchema):
    """The comparison on one set of items."""

    name = fields.String(
        required=True,
        metadata={"description": "`held_out`: items no training uses; `recent_feedback`: none of these two saw."},
    )
    source = fields.String(required=True, metadata={"description": "Where the items come from, for people."})
    metric = fields.String(required=True, metadata={"description": "What the figures are, e.g. `accuracy`."})
    judged = fields.Boolean(required=True, metadata={"description": "False: too few items to decide anything."})


class GateGuardSchema(AnswerSchema):
    """A figure that may not become worse than a limit, whatever the gain."""

    name = fields.String(
        required=True, metadata={"description": "`failures`, `size`, `latency` or `class_regression`."}
    )
    value = fields.Float(required=True, metadata={"description": "What was measured."})
    limit = fields.Float(required=True, metadata={"description": "Most that is allowed."})
    held = fields.Boolean(required=True, metadata={"description": "False: the version was refused for it."})
    detail = fields.String(required=True, metadata={"description": "The same for people."})


class GateVerdictSchema(AnswerSchema):
    """What a trained version proved against the champion of its day, and what became of it."""

    outcome = fields.Enum(
        GateOutcome,
        by_value=True,
        required=True,
        metadata={"description": "`undecided`: nothing could be compared, and nothing was changed."},
    )
    reason = fields.String(required=True, metadata={"description": "A sentence for people."})
    policy = fields.Enum(
        GatePolicy, by_value=True, required=True, metadata={"description": "The model's, when it was judged."}
    )
    champion = fields.Integer(
        required=True, allow_none=True, metadata={"description": "What it was compared with; null: there was none."}
    )
    training = fields.UUID(
        required=True, allow_none=True, metadata={"description": "The training that made the version."}
    )
    comparisons = fields.List(
        fields.Nested(GateComparisonSchema), required=True, metadata={"description": "By set of items."}
    )
    guards = fields.List(fields.Nested(GateGuardSchema), required=True, metadata={"description": "By figure."})
    created_at = fields.AwareDateTime(required=True, metadata={"description": "When it was judged."})
