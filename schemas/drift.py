"""Drift: what is watched of a model's answers, as it is configured and told on the wire."""

from dataclasses import dataclass
from typing import Any

from marshmallow import Schema, fields, validate

from schemas.answers import AnswerSchema
from schemas.enums import DriftMeasure

#: Largest samples that are compared: reading them must not hold the database for long.
MOST_ANSWERS = 20_000

EXAMPLE_SETTINGS: dict[str, Any] = {
    "enabled": True,
    "reference": 1000,
    "window": 500,
    "min_feedback": 100,
    "max_label_distance": 0.2,
    "max_score_psi": 0.2,
    "max_accuracy_drop": 0.05,
    "max_error_rise": 0.25,
    "alpha": 0.001,
    "checks": 2,
}

EXAMPLE: dict[str, Any] = {
    "model": "fashion",
    "version": 1,
    "settings": EXAMPLE_SETTINGS,
    "since": "2026-11-20T12:00:00.000000+00:00",
    "checked_at": "2026-11-21T12:00:00.000000+00:00",
    "reference": {"answers": 1000, "wanted": 1000, "labels": {"Bag": 0.11, "Sandal": 0.09}},
    "window": {"answers": 500, "wanted": 500, "labels": {"Bag": 0.42, "Sandal": 0.01}},
    "measures": [
        {
            "measure": "labels",
            "value": 0.31,
            "threshold": 0.2,
            "is_significant": True,
            "is_over": True,
            "checks_over": 2,
            "reference_samples": 1000,
            "window_samples": 500,
            "reference_value": None,
            "window_value": None,
        }
    ],
    "alarms": [
        {
            "id": 7,
            "version": 1,
            "measure": "labels",
            "value": 0.31,
            "threshold": 0.2,
            "opened_at": "2026-11-21T12:00:00.000000+00:00",
            "closed_at": None,
            "close_reason": None,
        }
    ],
}


@dataclass(frozen=True, kw_only=True, slots=True)
class DriftSettings:
    """When the champion's answers count as drifted.

    Attributes:
        enabled: Whether they are watched.
        reference: The first so many answers after a promotion, and the first so much feedback, are what is usual.
        window: The latest so many are compared with them.
        min_feedback: With less, accuracy and error are not compared.
        max_label_distance: Jensen-Shannon distance of the shares of labels, 0..1.
        max_score_psi: Population stability index of the deciles of scores.
        max_accuracy_drop: Share of answers, 0..1.
        max_error_rise: Of the mean absolute error, as a share of what is usual.
        alpha: How often chance alone may exceed what is taken for significant, for each measure and check.
        checks: Consecutive checks, each with new data, that must agree before an alarm is raised, or ends.
    """

    enabled: bool = True
    reference: int = 1000
    window: int = 500
    min_feedback: int = 100
    max_label_distance: float = 0.2
    max_score_psi: float = 0.2
    max_accuracy_drop: float = 0.05
    max_error_rise: float = 0.25
    alpha: float = 0.001
    checks: int = 2


DEFAULT = DriftSettings()

_SAMPLES = validate.Range(min=100, max=MOST_ANSWERS)
_SHARE = validate.Range(min=0, min_inclusive=False, max=1)


class DriftSettingsSchema(Schema):
    """When a champion's answers count as drifted. What is left out has its default."""

    enabled = fields.Boolean(load_default=DEFAULT.enabled, metadata={"description": "Whether they are watched."})
    reference = fields.Integer(
        load_default=DEFAULT.reference,
        validate=_SAMPLES,
        metadata={"description": "The first so many answers after a promotion are what is usual."},
    )
    window = fields.Integer(
        load_default=DEFAULT.window,
        validate=_SAMPLES,
        metadata={"description": "The latest so many answers are compared with them."},
    )
    min_feedback = fields.Integer(
        load_default=DEFAULT.min_feedback,
        validate=validate.Range(min=30, max=MOST_ANSWERS),
        metadata={"description": "With less feedback, accuracy and error are not compared."},
    )
    max_label_distance = fields.Float(
        load_default=DEFAULT.max_label_distance,
        validate=_SHARE,
        metadata={"description": "Jensen-Shannon distance of the shares of labels, 0 to 1."},
    )
    max_score_psi = fields.Float(
        load_default=DEFAULT.max_score_psi,
        validate=validate.Range(min=0, min_inclusive=False, max=10),
        metadata={"description": "Population stability index of the deciles of scores."},
    )
    max_accuracy_drop = fields.Float(
        load_default=DEFAULT.max_accuracy_drop,
        validate=_SHARE,
        metadata={"description": "Share of answers, 0 to 1."},
    )
    max_error_rise = fields.Float(
        load_default=DEFAULT.max_error_rise,
        validate=validate.Range(min=0, min_inclusive=False, max=100),
        metadata={"description": "Of the mean absolute error, as a share of what is usual."},
    )
    alpha = fields.Float(
        load_default=DEFAULT.alpha,
        validate=validate.Range(min=1e-9, max=0.1),
        metadata={"description": "How often chance may pass for significant, by measure and check."},
    )
    checks = fields.Integer(
        load_default=DEFAULT.checks,
        validate=validate.Range(min=1, max=100),
        metadata={"description": "Consecutive checks with new data that must agree."},
    )


class DriftSampleSchema(AnswerSchema):
    """Answers of one span."""

    answers = fields.Integer(required=True, metadata={"description": "How many there are so far."})
    wanted = fields.Integer(required=True, metadata={"description": "Nothing is compared before so many are there."})
    labels = fields.Dict(
        keys=fields.String(),
        values=fields.Float(),
        required=True,
        metadata={"description": "Shares of labels; empty for kinds without."},
    )


class DriftFigureSchema(AnswerSchema):
    """One measure at the last check."""

    measure = fields.Enum(DriftMeasure, by_value=True, required=True)
    value = fields.Float(required=True, metadata={"description": "How far the window is from what is usual."})
    threshold = fields.Float(required=True, metadata={"description": "From there on it matters."})
    is_significant = fields.Boolean(required=True, metadata={"description": "Whether it is more than chance."})
    is_over = fields.Boolean(required=True, metadata={"description": "Whether it matters and is more than chance."})
    checks_over = fields.Integer(
        required=True, metadata={"description": "Consecutive checks that found so; below 0: that did not."}
    )
    reference_samples = fields.Integer(required=True, metadata={"description": "What is usual rests on so many."})
    window_samples = fields.Integer(required=True, metadata={"description": "The window holds so many."})
    reference_value = fields.Float(
        required=True, allow_none=True, metadata={"description": "The usual accuracy or error; null for shapes."}
    )
    window_value = fields.Float(
        required=True, allow_none=True, metadata={"description": "That of the window; null for shapes."}
    )


class DriftAlarmSchema(AnswerSchema):
    """A measure that stayed over its threshold."""

    id = fields.Integer(required=True, metadata={"description": "Counts up."})
    version = fields.Integer(required=True, metadata={"description": "The version whose answers drifted."})
    measure = fields.Enum(DriftMeasure, by_value=True, required=True)
    value = fields.Float(required=True, metadata={"description": "When the alarm was raised."})
    threshold = fields.Float(required=True, metadata={"description": "At that time."})
    opened_at = fields.AwareDateTime(required=True, metadata={"description": "When it was raised."})
    closed_at = fields.AwareDateTime(required=True, allow_none=True, metadata={"description": "Null while it is open."})
    close_reason = fields.String(required=True, allow_none=True, metadata={"description": "Why it is over."})


class DriftSchema(AnswerSchema):
    """How far the answers of a model's champion are from what is usual for it."""

    model = fields.String(required=True, metadata={"description": "Name of the model."})
    version = fields.Integer(
        required=True, allow_none=True, metadata={"description": "The champion; null when there is none."}
    )
    settings = fields.Nested(DriftSettingsSchema, required=True)
    since = fields.AwareDateTime(
        required=True, allow_none=True, metadata={"description": "When it was promoted; null before the first check."}
    )
    checked_at = fields.AwareDateTime(
        required=True, allow_none=True, metadata={"description": "Of the last check; null before the first."}
    )
    reference = fields.Nested(DriftSampleSchema, required=True)
    window = fields.Nested(DriftSampleSchema, required=True)
    measures = fields.List(
        fields.Nested(DriftFigureSchema),
        required=True,
        metadata={"description": "Those that there is enough data for, at the last check."},
    )
    alarms = fields.List(
        fields.Nested(DriftAlarmSchema),
        required=True,
        metadata={"description": "The latest of the model, of any version, newest first."},
    )
