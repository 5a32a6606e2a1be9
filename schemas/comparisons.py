"""The versions of a model side by side, on the wire."""

from typing import Any

from marshmallow import Schema, fields

from schemas.answers import AnswerSchema
from schemas.enums import TrafficPolicy, Verdict
from schemas.instants import Instant


def _share(value: float, lower: float, upper: float) -> dict[str, float]:
    return {"value": value, "lower": lower, "upper": upper}


EXAMPLE: dict[str, Any] = {
    "model": "fashion",
    "policy": "fixed",
    "since": "2026-11-20T12:00:00.000000+00:00",
    "champion": 3,
    "versions": [
        {
            "version": 3,
            "requests": 18_990,
            "errors": 12,
            "error_rate": _share(0.0006, 0.0003, 0.0014),
            "latency_ms": {"p50": 9.8, "p99": 24.1},
            "feedback": 9_480,
            "quality": {"name": "accuracy", **_share(0.8911, 0.8784, 0.9027)},
        },
        {
            "version": 4,
            "requests": 1_010,
            "errors": 1,
            "error_rate": _share(0.001, 0.0, 0.0112),
            "latency_ms": {"p50": 9.9, "p99": 24.6},
            "feedback": 512,
            "quality": {"name": "accuracy", **_share(0.9434, 0.8984, 0.9713)},
        },
    ],
    "comparisons": [
        {
            "version": 4,
            "against": 3,
            "difference": _share(0.0523, 0.0046, 0.0841),
            "e_value": 61.2,
            "verdict": "better",
        }
    ],
    "sample_ratio": {
        "checked": True,
        "reason": None,
        "unit": "requests",
        "counts": {"3": 18_990, "4": 1_010},
        "shares": {"3": 0.95, "4": 0.05},
        "e_value": 0.03,
        "off": False,
    },
    "shadows": [
        {
            "version": 5,
            "pairs": 10_000,
            "errors": 0,
            "agreement": _share(0.94, 0.9312, 0.9476),
            "difference": _share(0.0, 0.0, 0.0) | {"value": None, "lower": None, "upper": None},
            "compute_ms": {"p50": 4.1, "p99": 6.0},
            "answer_compute_ms": {"p50": 4.0, "p99": 5.8},
        }
    ],
    "alpha": 0.05,
}


class ComparisonQueryArgsSchema(Schema):
    """Which predictions are compared."""

    since = Instant(
        load_default=None,
        metadata={"description": "Only those since this time, which names its zone; by default since the split began."},
    )


class FigureSchema(AnswerSchema):
    """A figure and the interval in which the truth lies, which holds however often it is looked at."""

    value = fields.Float(required=True, allow_none=True, metadata={"description": "As seen; null when nothing was."})
    lower = fields.Float(
        required=True, allow_none=True, metadata={"description": "Lower end; null when nothing is known."}
    )
    upper = fields.Float(
        required=True, allow_none=True, metadata={"description": "Upper end; null when nothing is known."}
    )


class QualitySchema(FigureSchema):
    """How good the answers were, by feedback."""

    name = fields.String(
        required=True,
        metadata={"description": "`accuracy`, a share of right answers, or `mean_error`, which is less the better."},
    )


class PercentilesSchema(AnswerSchema):
    """Percentiles of a time in milliseconds; null when there is none."""

    p50 = fields.Float(required=True, allow_none=True, metadata={"description": "Half took no longer."})
    p99 = fields.Float(required=True, allow_none=True, metadata={"description": "One in a hundred took longer."})


class VersionTrafficSchema(AnswerSchema):
    """What one version did with the requests that were drawn for it."""

    version = fields.Integer(required=True, metadata={"description": "Its number."})
    requests = fields.Integer(required=True, metadata={"description": "That succeeded or failed."})
    errors = fields.Integer(required=True, metadata={"description": "That failed."})
    error_rate = fields.Nested(FigureSchema, required=True)
    latency_ms = fields.Nested(
        PercentilesSchema, required=True, metadata={"description": "From acceptance to the end, right to 2 %."}
    )
    feedback = fields.Integer(required=True, metadata={"description": "Answers of which the truth is known."})
    quality = fields.Nested(
        QualitySchema, required=True, allow_none=True, metadata={"description": "Null without feedback."}
    )


class VersionComparisonSchema(AnswerSchema):
    """One version compared with the champion, by feedback."""

    version = fields.Integer(required=True, metadata={"description": "Its number."})
    against = fields.Integer(required=True, metadata={"description": "The champion's."})
    difference = fields.Nested(
        FigureSchema,
        required=True,
        metadata={"description": "Its quality minus the champion's; more is better, also where an error is measured."},
    )
    e_value = fields.Float(
        required=True,
        metadata={"description": "Evidence against both being equal; reaches 20 by chance in 1 of 20 comparisons."},
    )
    verdict = fields.Enum(
        Verdict,
        by_value=True,
        required=True,
        metadata={"description": "All of one comparison are right with 95 %, however often they are looked at."},
    )


class SampleRatioSchema(AnswerSchema):
    """Whether the versions got the shares that they should have got since those were last set."""

    checked = fields.Boolean(required=True, metadata={"description": "Whether that can be told."})
    reason = fields.String(required=True, allow_none=True, metadata={"description": "Why not."})
    unit = fields.String(
        required=True, allow_none=True, metadata={"description": "What is drawn for: `requests`, `items`, `api_keys`."}
    )
    counts = fields.Dict(
        keys=fields.String(), values=fields.Integer(), required=True, allow_none=True, metadata={"description": "Seen."}
    )
    shares = fields.Dict(
        keys=fields.String(), values=fields.Float(), required=True, allow_none=True, metadata={"description": "Wanted."}
    )
    e_value = fields.Float(
        required=True, allow_none=True, metadata={"description": "Evidence against the shares being right."}
    )
    off = fields.Boolean(
        required=True, metadata={"description": "True: look for a fault before you believe any other figure."}
    )


class ShadowSchema(AnswerSchema):
    """What a shadow said beside what was answered, for the latest answers."""

    version = fields.Integer(required=True, metadata={"description": "Its number."})
    pairs = fields.Integer(required=True, metadata={"description": "Answers that it was asked for as well."})
    errors = fields.Integer(required=True, metadata={"description": "On which it failed."})
    agreement = fields.Nested(FigureSchema, required=True, metadata={"description": "Share of the same answers."})
    difference = fields.Nested(
        FigureSchema, required=True, metadata={"description": "Of numbers: how far they lie apart on average."}
    )
    compute_ms = fields.Nested(
        PercentilesSchema, required=True, metadata={"description": "Decoding and computing; waiting is not counted."}
    )
    answer_compute_ms = fields.Nested(
        PercentilesSchema, required=True, metadata={"description": "The same of the answers."}
    )


class ComparisonSchema(AnswerSchema):
    """The versions of a model side by side."""

    model = fields.String(required=True, metadata={"description": "Its name."})
    policy = fields.Enum(
        TrafficPolicy, by_value=True, required=True, metadata={"description": "How traffic is split now."}
    )
    since = fields.AwareDateTime(required=True, metadata={"description": "What was accepted or ended since then."})
    champion = fields.Integer(
        required=True,
        allow_none=True,
        metadata={"description": "The version that the others are measured by; null when it answered nothing."},
    )
    versions = fields.List(
        fields.Nested(VersionTrafficSchema), required=True, metadata={"description": "The champion first."}
    )
    comparisons = fields.List(
        fields.Nested(VersionComparisonSchema),
        required=True,
        metadata={"description": "Each other version with the champion."},
    )
    sample_ratio = fields.Nested(SampleRatioSchema, required=True)
    shadows = fields.List(
        fields.Nested(ShadowSchema), required=True, metadata={"description": "The versions that shadow it now."}
    )
    alpha = fields.Float(
        required=True, metadata={"description": "All verdicts together are wrong with this probability at most."}
    )
