"""How a model's traffic is split, on the wire and as it is stored."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from marshmallow import Schema, fields, validate

from schemas.answers import AnswerSchema
from schemas.enums import StickyKey, TrafficPolicy
from schemas.integers import MOST_EXACT

DAY_S = 24 * 3600

#: Longer ago, feedback is about another world.
LONGEST_WINDOW_S = 365 * DAY_S

#: Versions among which one model's traffic can be shared, and that can shadow it.
MOST_VERSIONS = 8

#: The reason of a change, as the log of decisions keeps it.
REASON_LENGTH = 1_000

GUARDS_EXAMPLE: dict[str, Any] = {"error_rate_rise": 0.02, "latency_ratio": 2.0, "quality_drop": 0.02}
LEARNING_EXAMPLE: dict[str, Any] = {"window_s": 7 * DAY_S, "floor": 0.01}

REQUEST_EXAMPLE: dict[str, Any] = {
    "policy": "fixed",
    "weights": {"3": 95, "4": 5},
    "shadows": [5],
    "sticky": "item",
    "guards": GUARDS_EXAMPLE,
}

EXAMPLE: dict[str, Any] = {
    "model": "fashion",
    "policy": "fixed",
    "champion": 3,
    "weights": {"3": 95.0, "4": 5.0},
    "arms": [
        {"version": 3, "probability": 0.95, "posterior": None},
        {"version": 4, "probability": 0.05, "posterior": None},
    ],
    "shadows": [5],
    "sticky": "item",
    "guards": GUARDS_EXAMPLE,
    "learning": LEARNING_EXAMPLE,
    "started_at": "2026-11-20T12:00:00.000000+00:00",
    "updated_at": "2026-11-20T12:00:00.000000+00:00",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Guards:
    """When a split is ended at once, because a version is clearly worse than the champion. None: never for this.

    Attributes:
        error_rate_rise: More of its predictions fail than of the champion's, by this share of all.
        latency_ratio: Its 99th percentile of latency is so many times the champion's.
        quality_drop: It has fewer right answers, by this share of all; for numbers, its mean error is greater by this
            share of the champion's.
    """

    error_rate_rise: float | None = 0.02
    latency_ratio: float | None = 2.0
    quality_drop: float | None = 0.02


@dataclass(frozen=True, kw_only=True, slots=True)
class Learning:
    """How a learned split learns.

    Attributes:
        window_s: From feedback on predictions that are no older, in seconds.
        floor: Least probability of each version.
    """

    window_s: float = 7.0 * DAY_S
    floor: float = 0.01


@dataclass(frozen=True, kw_only=True, slots=True)
class TrafficPlan:
    """A split as somebody asks for it; `weights` and `shadows` are by version number."""

    policy: TrafficPolicy = TrafficPolicy.NONE
    weights: Mapping[int, float] = field(default_factory=dict)
    shadows: tuple[int, ...] = ()
    sticky: StickyKey = StickyKey.NONE
    guards: Guards = Guards()
    learning: Learning = Learning()

    @classmethod
    def load(cls, given: Mapping[str, Any]) -> Self:
        """Read what `TrafficRequestSchema` loaded, or what `dump` wrote."""
        return cls(
            policy=TrafficPolicy(given["policy"]),
            weights={int(number): float(weight) for number, weight in given["weights"].items()},
            shadows=tuple(given["shadows"]),
            sticky=StickyKey(given["sticky"]),
            guards=Guards(**given["guards"]),
            learning=Learning(**given["learning"]),
        )

    def dump(self) -> dict[str, Any]:
        """Write as JSON can hold it."""
        return asdict(self) | {
            "policy": str(self.policy),
            "weights": {str(number): weight for number, weight in sorted(self.weights.items())},
            "shadows": list(self.shadows),
            "sticky": str(self.sticky),
        }


class GuardsSchema(Schema):
    """When a split is ended at once, because a version is clearly worse than the champion. Null: never for this."""

    error_rate_rise = fields.Float(
        load_default=Guards().error_rate_rise,
        allow_none=True,
        validate=validate.Range(min=0, max=1),
        metadata={"description": "More of its predictions fail than of the champion's, by this share of all."},
    )
    latency_ratio = fields.Float(
        load_default=Guards().latency_ratio,
        allow_none=True,
        validate=validate.Range(min=1, max=1000),
        metadata={"description": "Its 99th percentile of latency is more than so many times the champion's."},
    )
    quality_drop = fields.Float(
        load_default=Guards().quality_drop,
        allow_none=True,
        validate=validate.Range(min=0, max=10),
        metadata={
            "description": "It has fewer right answers, by this share of all; for numbers, its mean error is greater "
            "by this share of the champion's."
        },
    )


class LearningSchema(Schema):
    """How a learned split learns."""

    window_s = fields.Float(
        load_default=Learning().window_s,
        validate=validate.Range(min=1, max=LONGEST_WINDOW_S),
        metadata={"description": "From feedback on predictions that are no older; a week by default."},
    )
    floor = fields.Float(
        load_default=Learning().floor,
        validate=validate.Range(min=0, max=1 / MOST_VERSIONS),
        metadata={"description": "Least probability of each version, so that it is never lost sight of."},
    )


class TrafficRequestSchema(Schema):
    """How a model's traffic is to be split. What is left out has its default."""

    policy = fields.Enum(
        TrafficPolicy,
        by_value=True,
        required=True,
        metadata={
            "description": "`fixed`: by `weights`. `learned`: each of the versions in `weights` with the probability "
            "that it is the best, as far as feedback tells; the weights count until the first is known. `none`: the "
            "champion answers, which is what a split with shadows alone says."
        },
    )
    weights = fields.Dict(
        keys=fields.Integer(strict=False, validate=validate.Range(min=1)),
        values=fields.Float(allow_nan=False),
        load_default=dict,
        validate=validate.Length(max=MOST_VERSIONS),
        metadata={"description": 'Shares by version number, in any unit: `{"3": 95, "4": 5}`.'},
    )
    shadows = fields.List(
        fields.Integer(validate=validate.Range(min=1, max=MOST_EXACT)),
        load_default=list,
        validate=validate.Length(max=MOST_VERSIONS),
        metadata={"description": "Versions that compute what another answers; stored and compared, never answered."},
    )
    sticky = fields.Enum(
        StickyKey,
        by_value=True,
        load_default=StickyKey.NONE,
        metadata={
            "description": "What goes to the same version again: requests about one `item`, of one `api_key`, with "
            "one `header` `X-Sticky-Key`. A request without such a key is drawn for by itself."
        },
    )
    guards = fields.Nested(GuardsSchema, load_default=lambda: asdict(Guards()))
    learning = fields.Nested(LearningSchema, load_default=lambda: asdict(Learning()))
    reason = fields.String(
        load_default="",
        validate=validate.Length(max=REASON_LENGTH),
        metadata={"description": "Why, for the log of decisions."},
    )


class ArmSchema(AnswerSchema):
    """One version's share."""

    version = fields.Integer(required=True, metadata={"description": "Its number."})
    probability = fields.Float(required=True, metadata={"description": "With which it is chosen now."})
    posterior = fields.Dict(
        keys=fields.String(),
        required=True,
        allow_none=True,
        metadata={"description": "What a learned split knows of it: `mean`, `deviation`, `feedback`."},
    )


class TrafficSchema(AnswerSchema):
    """How a model's traffic is split."""

    model = fields.String(required=True, metadata={"description": "Its name."})
    policy = fields.Enum(
        TrafficPolicy, by_value=True, required=True, metadata={"description": "`none`: the champion answers alone."}
    )
    champion = fields.Integer(
        required=True, allow_none=True, metadata={"description": "The version that the others are compared with."}
    )
    weights = fields.Dict(
        keys=fields.String(), values=fields.Float(), required=True, metadata={"description": "As they were set."}
    )
    arms = fields.List(
        fields.Nested(ArmSchema),
        required=True,
        metadata={"description": "The versions that answer; empty when the champion answers alone."},
    )
    shadows = fields.List(
        fields.Integer(), required=True, metadata={"description": "The versions that compute and never answer."}
    )
    sticky = fields.Enum(StickyKey, by_value=True, required=True, metadata={"description": "As it was set."})
    guards = fields.Nested(GuardsSchema, required=True)
    learning = fields.Nested(LearningSchema, required=True)
    started_at = fields.AwareDateTime(
        required=True, allow_none=True, metadata={"description": "When these versions began to share."}
    )
    updated_at = fields.AwareDateTime(
        required=True, allow_none=True, metadata={"description": "When the shares were last set."}
    )


def is_share(weight: float) -> bool:
    """Whether a number can be a share."""
    return math.isfinite(weight) and weight >= 0.0
