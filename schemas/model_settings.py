"""How a model is served, apart from what it is: changed at any time, for all of its versions."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from marshmallow import Schema, fields, validate

from schemas.drift import EXAMPLE_SETTINGS as DRIFT_EXAMPLE
from schemas.drift import DriftSettings, DriftSettingsSchema
from schemas.enums import Durability, Placement
from schemas.gate_settings import DEFAULT as DEFAULT_GATE
from schemas.gate_settings import EXAMPLE as GATE_EXAMPLE
from schemas.gate_settings import GateSettings, GateSettingsSchema
from schemas.prediction_arguments import DEADLINE_LIMIT_MS
from schemas.retraining_settings import EXAMPLE as RETRAINING_EXAMPLE
from schemas.retraining_settings import RetrainingSettings, RetrainingSettingsSchema

MEBIBYTE = 1024 * 1024

#: A prediction that would wait longer is refused: no client waits for an answer so long. Of bulk priority it may.
DEFAULT_MAX_WAIT_MS = 30_000

#: A tebibyte: no machine has more for the answers of one model.
MOST_CACHE_BYTES = 2**40

#: A week: longer than that, a result should be made anew by whatever version answers then.
LONGEST_TTL_S = 7 * 24 * 3600

EXAMPLE: dict[str, Any] = {
    "placement": "queue",
    "durability": "committed",
    "cache": {"ttl_s": 600, "max_bytes": 64 * MEBIBYTE},
    "max_wait_ms": DEFAULT_MAX_WAIT_MS,
    "drift": DRIFT_EXAMPLE,
    "retraining": RETRAINING_EXAMPLE,
    "gate": GATE_EXAMPLE,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class CacheSettings:
    """What is remembered of a model's answers.

    Attributes:
        ttl_s: An answer is given again for so long, in seconds.
        max_bytes: Most memory of one web process for this model; the least recently used answers leave.
    """

    ttl_s: float
    max_bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelSettings:
    """How a model is served.

    Attributes:
        placement: Where it computes.
        durability: When an inline answer goes out: after its row is committed, or before.
        cache: What is remembered; None remembers nothing.
        max_wait_ms: A prediction that would wait longer for its turn is refused, unless it is of bulk priority; None:
            none is.
        drift: When the champion's answers count as drifted.
        retraining: When it is trained again by itself; None: never.
        gate: What a trained version must prove.
    """

    placement: Placement = Placement.QUEUE
    durability: Durability = Durability.COMMITTED
    cache: CacheSettings | None = None
    max_wait_ms: int | None = DEFAULT_MAX_WAIT_MS
    drift: DriftSettings = field(default_factory=DriftSettings)
    retraining: RetrainingSettings | None = None
    gate: GateSettings = DEFAULT_GATE

    @classmethod
    def load(cls, stored: Mapping[str, Any]) -> Self:
        """Read what `dump` wrote; what is missing has its default."""
        cache = stored.get("cache")
        retraining = stored.get("retraining")
        return cls(
            placement=Placement(stored.get("placement", Placement.QUEUE)),
            durability=Durability(stored.get("durability", Durability.COMMITTED)),
            cache=None if cache is None else CacheSettings(**cache),
            max_wait_ms=stored.get("max_wait_ms", DEFAULT_MAX_WAIT_MS),
            drift=DriftSettings(**stored.get("drift", {})),
            retraining=None if retraining is None else RetrainingSettings.load(retraining),
            gate=GateSettings.load(stored.get("gate", {})),
        )

    def dump(self) -> dict[str, Any]:
        """Write as JSON can hold it."""
        return asdict(self)


class CacheSettingsSchema(Schema):
    """What is remembered of a model's answers."""

    ttl_s = fields.Float(
        required=True,
        validate=validate.Range(min=0, min_inclusive=False, max=LONGEST_TTL_S),
        metadata={"description": "An answer is given again for so many seconds."},
    )
    max_bytes = fields.Integer(
        load_default=64 * MEBIBYTE,
        validate=validate.Range(min=MEBIBYTE, max=MOST_CACHE_BYTES),
        metadata={
            "description": "Most memory of one web process for this model, 64 MiB by default; "
            "the least recently used answers leave."
        },
    )


class ModelSettingsSchema(Schema):
    """How a model is served. What is left out has its default."""

    placement = fields.Enum(
        Placement,
        by_value=True,
        load_default=Placement.QUEUE,
        metadata={
            "description": "`queue`: on a worker's device. `inline`: in the web process, where one has that role."
        },
    )
    durability = fields.Enum(
        Durability,
        by_value=True,
        load_default=Durability.COMMITTED,
        metadata={
            "description": "Of inline answers. `committed`: stored before they are given. "
            "`relaxed`: stored right after; a crash may forget the last ones."
        },
    )
    cache = fields.Nested(CacheSettingsSchema, load_default=None, allow_none=True)
    max_wait_ms = fields.Integer(
        strict=True,
        load_default=DEFAULT_MAX_WAIT_MS,
        allow_none=True,
        validate=validate.Range(min=1, max=DEADLINE_LIMIT_MS),
        metadata={
            "description": "A prediction that would wait longer for its turn, in milliseconds, is refused with 429, "
            "unless it is of bulk priority; half a minute by default. null: none is."
        },
    )
    drift = fields.Nested(DriftSettingsSchema, load_default=dict)
    retraining = fields.Nested(
        RetrainingSettingsSchema,
        load_default=None,
        allow_none=True,
        metadata={"description": "When it is trained again by itself; null: never."},
    )
    gate = fields.Nested(
        GateSettingsSchema,
        load_default=DEFAULT_GATE.dump,
        metadata={"description": "What a trained version must prove before it takes traffic."},
    )
