"""What a trained version must prove before it takes traffic: settings of a model, beside how it is served."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from marshmallow import Schema, fields, validate

from schemas.enums import GatePolicy
from schemas.integers import MOST_EXACT

EXAMPLE: dict[str, Any] = {
    "policy": "manual",
    "confidence": 0.95,
    "min_gain": 0.0,
    "max_loss": 0.02,
    "max_class_loss": 0.1,
    "max_latency_ratio": 1.5,
    "max_size_ratio": 2.0,
    "min_items": 50,
    "max_items": 2000,
    "held_out_share": 0.1,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class GateSettings:
    """What a candidate must prove against the champion.

    Gains and losses are differences of accuracy, 0..1; for a regression, shares of the champion's mean absolute error.

    Attributes:
        policy: What becomes of one that is better.
        confidence: Of all intervals of one verdict together, 0..1.
        min_gain: The interval of the gain must lie above this on at least one set of items.
        max_loss: It must lie above minus this on every other set.
        max_class_loss: Most that the accuracy on one label may fall, beyond chance.
        max_latency_ratio: Most that one item may take, as a multiple of the champion's time.
        max_size_ratio: Most that the weights may weigh, as a multiple of the champion's.
        min_items: Sets with fewer items prove nothing and are left out.
        max_items: Most items of one set.
        held_out_share: Share of the feedback that no training sees, so that there is always some to compare with.
    """

    policy: GatePolicy = GatePolicy.MANUAL
    confidence: float = 0.95
    min_gain: float = 0.0
    max_loss: float = 0.02
    max_class_loss: float = 0.1
    max_latency_ratio: float = 1.5
    max_size_ratio: float = 2.0
    min_items: int = 50
    max_items: int = 2000
    held_out_share: float = 0.1

    @classmethod
    def load(cls, stored: Mapping[str, Any]) -> Self:
        """Read what `dump` wrote; what is missing has its default."""
        return cls(**{**stored, "policy": GatePolicy(stored.get("policy", GatePolicy.MANUAL))})

    def dump(self) -> dict[str, Any]:
        """Write as JSON can hold it."""
        return asdict(self)


DEFAULT = GateSettings()


class GateSettingsSchema(Schema):
    """What a trained version must prove against the champion. What is left out has its default."""

    policy = fields.Enum(
        GatePolicy,
        by_value=True,
        load_default=DEFAULT.policy,
        metadata={"description": "Of one that is better. `manual`: it becomes the challenger. `auto`: the champion."},
    )
    confidence = fields.Float(
        load_default=DEFAULT.confidence,
        validate=validate.Range(min=0.5, max=0.999),
        metadata={"description": "Of all intervals of one verdict together."},
    )
    min_gain = fields.Float(
        load_default=DEFAULT.min_gain,
        validate=validate.Range(min=0, max=1),
        metadata={
            "description": "The interval of the gain must lie above this on one set at least. A difference of "
            "accuracy; for a regression, a share of the champion's mean absolute error."
        },
    )
    max_loss = fields.Float(
        load_default=DEFAULT.max_loss,
        validate=validate.Range(min=0, max=1),
        metadata={"description": "The interval of the gain must lie above minus this on every other set."},
    )
    max_class_loss = fields.Float(
        load_default=DEFAULT.max_class_loss,
        validate=validate.Range(min=0, max=1),
        metadata={"description": "Most that the accuracy on one label may fall, beyond what chance explains."},
    )
    max_latency_ratio = fields.Float(
        load_default=DEFAULT.max_latency_ratio,
        validate=validate.Range(min=1),
        metadata={"description": "Most time for one item, as a multiple of the champion's on the same device."},
    )
    max_size_ratio = fields.Float(
        load_default=DEFAULT.max_size_ratio,
        validate=validate.Range(min=1),
        metadata={"description": "Most bytes of weights, as a multiple of the champion's."},
    )
    min_items = fields.Integer(
        load_default=DEFAULT.min_items,
        validate=validate.Range(min=10, max=MOST_EXACT),
        metadata={"description": "Sets with fewer items prove nothing and are left out."},
    )
    max_items = fields.Integer(
        load_default=DEFAULT.max_items,
        validate=validate.Range(min=10, max=100_000),
        metadata={"description": "Most items of one set."},
    )
    held_out_share = fields.Float(
        load_default=DEFAULT.held_out_share,
        validate=validate.Range(min=0, max=0.5),
        metadata={"description": "Share of the feedback that no training sees; the gate compares on it."},
    )
