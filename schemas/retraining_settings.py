"""When a model is trained again by itself."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from marshmallow import Schema, fields, validate

from schemas.integers import MOST_EXACT
from schemas.training_options import EXAMPLE as OPTIONS_EXAMPLE
from schemas.training_options import TrainingOptions, TrainingOptionsSchema

DAY_S = 24 * 3600.0

DEFAULT_OPTIONS = TrainingOptions()

EXAMPLE: dict[str, Any] = {
    "cron": "0 3 * * mon",
    "min_feedback": 1000,
    "on_drift": True,
    "debounce_s": 600.0,
    "options": OPTIONS_EXAMPLE,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class RetrainingSettings:
    """When a model is trained again by itself.

    Attributes:
        cron: Five fields, in UTC; None: never by the clock.
        min_feedback: Rows of feedback since the last training that succeeded that are enough for another, of those
            that `options` select; None: never.
        on_drift: Whether a drift alarm asks for one.
        debounce_s: Least time between the beginnings of two trainings, whatever asks.
        options: How.
    """

    cron: str | None = None
    min_feedback: int | None = None
    on_drift: bool = False
    debounce_s: float = 600.0
    options: TrainingOptions = DEFAULT_OPTIONS

    @classmethod
    def load(cls, stored: Mapping[str, Any]) -> Self:
        """Read what was dumped; what is missing has its default."""
        values = dict(stored)
        return cls(**values | {"options": TrainingOptions.load(values.get("options") or {})})


class RetrainingSettingsSchema(Schema):
    """When a model is trained again by itself. One training of a model runs at a time, whatever asks for it."""

    cron = fields.String(
        allow_none=True,
        load_default=None,
        validate=validate.Length(min=9, max=200),
        metadata={
            "description": "Minute, hour, day of month, month and day of week, in UTC. Ticks that were missed are "
            "caught up once."
        },
    )
    min_feedback = fields.Integer(
        allow_none=True,
        load_default=None,
        validate=validate.Range(min=1, max=MOST_EXACT),
        metadata={
            "description": "Rows of feedback since the last training that succeeded that are enough for another; only "
            "what `options` select counts, and of it what is not held out."
        },
    )
    on_drift = fields.Boolean(load_default=False, metadata={"description": "Whether a drift alarm asks for one."})
    debounce_s = fields.Float(
        load_default=600.0,
        validate=validate.Range(min=0, max=30 * DAY_S),
        metadata={"description": "Least seconds between the beginnings of two trainings."},
    )
    options = fields.Nested(
        TrainingOptionsSchema,
        load_default=DEFAULT_OPTIONS.dump,
        metadata={"description": "How it is trained."},
    )
