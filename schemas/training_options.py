"""How a training is done, as a request, a model's settings and a training's row say it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from marshmallow import Schema, fields, validate

from schemas.enums import FeedbackChoice, TrainingStart
from schemas.integers import MOST_EXACT

HOUR_S = 3600.0

#: A training that takes longer is split, or runs elsewhere.
LONGEST_S = 7 * 24 * HOUR_S

MAX_EPOCHS = 10_000
MAX_BATCH = 65_536
MAX_SEED = 2**31 - 1
MAX_PROCESSES = 64
MAX_EXAMPLES = 1_000_000
MAX_SOURCES = 20

EXAMPLE: dict[str, Any] = {
    "start": "champion",
    "use_base": True,
    "limit": None,
    "feedback": "all",
    "sources": ["shop"],
    "min_weight": 0.0,
    "feedback_weight": 2.0,
    "feedback_limit": 50_000,
    "holdout": 0.1,
    "epochs": 6,
    "batch_size": None,
    "learning_rate": None,
    "seed": 0,
    "processes": 1,
    "time_limit_s": HOUR_S,
    "promote": False,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingOptions:
    """How a training is done; `TrainingOptionsSchema` says what each means. None leaves it to the model."""

    start: TrainingStart | None = None
    use_base: bool = True
    limit: int | None = None
    feedback: FeedbackChoice | None = None
    sources: tuple[str, ...] | None = None
    min_weight: float = 0.0
    feedback_weight: float = 1.0
    feedback_limit: int = 50_000
    holdout: float | None = None
    epochs: int | None = None
    batch_size: int | None = None
    learning_rate: float | None = None
    seed: int = 0
    processes: int = 1
    time_limit_s: float = HOUR_S
    promote: bool = False

    @classmethod
    def load(cls, stored: Mapping[str, Any]) -> Self:
        """Read what `dump` wrote, or what the schema loaded; what is missing has its default."""
        values = dict(stored)
        for name, member in (("start", TrainingStart), ("feedback", FeedbackChoice)):
            if values.get(name) is not None:
                values[name] = member(values[name])
        if values.get("sources") is not None:
            values["sources"] = tuple(values["sources"])
        return cls(**values)

    def dump(self) -> dict[str, Any]:
        """Write as JSON can hold it."""
        return asdict(self)


class TrainingOptionsSchema(Schema):
    """How a training is done. What is left out has its default."""

    start = fields.Enum(
        TrainingStart,
        by_value=True,
        allow_none=True,
        load_default=None,
        metadata={
            "description": "`scratch`: fresh weights. `champion`: go on from the version that answers. Left out, the "
            "recipe of the model begins anew, and a model without a recipe goes on."
        },
    )
    use_base = fields.Boolean(
        load_default=True, metadata={"description": "Whether the recipe's own data is trained on, beside feedback."}
    )
    limit = fields.Integer(
        allow_none=True,
        load_default=None,
        validate=validate.Range(min=1, max=MOST_EXACT),
        metadata={"description": "Most items of each part of the recipe's own data."},
    )
    feedback = fields.Enum(
        FeedbackChoice,
        by_value=True,
        allow_none=True,
        load_default=None,
        metadata={
            "description": "`all`, `new`: what no training of this model that succeeded has seen in this revision, or "
            "`none`. Left out: `all`, where the kind learns from feedback."
        },
    )
    sources = fields.List(
        fields.String(validate=validate.Length(min=1, max=255)),
        allow_none=True,
        load_default=None,
        validate=validate.Length(min=1, max=MAX_SOURCES),
        metadata={"description": "Only feedback of these sources."},
    )
    min_weight = fields.Float(
        load_default=0.0, validate=validate.Range(min=0), metadata={"description": "Only feedback of at least this."}
    )
    feedback_weight = fields.Float(
        load_default=1.0,
        validate=validate.Range(min=0, min_inclusive=False, max=1000),
        metadata={"description": "How often feedback of weight 1 comes in an epoch; base data comes once."},
    )
    feedback_limit = fields.Integer(
        load_default=50_000,
        validate=validate.Range(min=1, max=MAX_EXAMPLES),
        metadata={"description": "Most rows of feedback; the newest predictions are taken."},
    )
    holdout = fields.Float(
        allow_none=True,
        load_default=None,
        validate=validate.Range(min=0, max=0.9),
        metadata={
            "description": "Share of the feedback that is left for comparing versions, the same rows each time; left "
            "out, what the gate of the model says."
        },
    )
    epochs = fields.Integer(
        allow_none=True,
        load_default=None,
        validate=validate.Range(min=1, max=MAX_EPOCHS),
        metadata={"description": "Passes over the data; left out, the recipe's own, a third of it when going on."},
    )
    batch_size = fields.Integer(
        allow_none=True,
        load_default=None,
        validate=validate.Range(min=1, max=MAX_BATCH),
        metadata={"description": "Items in one step; left out, the recipe's own."},
    )
    learning_rate = fields.Float(
        allow_none=True,
        load_default=None,
        validate=validate.Range(min=0, min_inclusive=False, max=10),
        metadata={"description": "Peak of the schedule; left out, the recipe's own, a fifth of it when going on."},
    )
    seed = fields.Integer(
        load_default=0,
        validate=validate.Range(min=0, max=MAX_SEED),
        metadata={"description": "The same data, seed, threads and processes give the same weights."},
    )
    processes = fields.Integer(
        load_default=1,
        validate=validate.Range(min=1, max=MAX_PROCESSES),
        metadata={"description": "Processes that train together, one a device (torchrun, DDP)."},
    )
    time_limit_s = fields.Float(
        load_default=HOUR_S,
        validate=validate.Range(min=1, max=LONGEST_S),
        metadata={"description": "Seconds from its first start on; past them it fails with `time_limit`."},
    )
    promote = fields.Boolean(
        load_default=False,
        metadata={"description": "Promote the new version at once, without the gate. Takes a key with scope `admin`."},
    )
