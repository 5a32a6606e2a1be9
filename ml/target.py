"""What a regression predicts: its unit, the scale that its network works in, and the interval that it states.

Shapes: any; everything here works element by element.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

from torch import Tensor

from ml.errors import InvalidSpecError

Transform = Literal["identity", "log"]

DEFAULT_INTERVAL = 0.8

MAX_DECIMALS = 12


@dataclass(frozen=True, kw_only=True)
class Target:
    """Read from ``kind_options`` of a model of kind ``regression``.

    Args:
        unit: Of the value, for people; empty where it has none.
        transform: ``log`` for values above 0 whose errors are a share of the value, such as prices.
        mean: Of the training targets after the transform; the network's 0.
        std: Their standard deviation; the network's 1.
        interval: Share of all targets that the interval is meant to hold, above 0 and below 1.
        offset: By how much a calibration widened the network's own interval at both ends, in units of ``std`` after the
            transform; see ``ml.conformal``. Below 0 it was too wide.
        decimals: Digits after the point in results.
    """

    unit: str = ""
    transform: Transform = "identity"
    mean: float = 0.0
    std: float = 1.0
    interval: float = DEFAULT_INTERVAL
    offset: float = 0.0
    decimals: int = 2

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "Target":
        """Read ``kind_options``.

        Raises:
            InvalidSpecError: A field is unknown or wrong; the error names it.
        """
        unknown = sorted(config.keys() - cls.__dataclass_fields__.keys())
        if unknown:
            raise _wrong(unknown[0], f"is unknown; known are: {', '.join(cls.__dataclass_fields__)}.")
        unit, transform = config.get("unit", cls.unit), config.get("transform", cls.transform)
        if not isinstance(unit, str):
            raise _wrong("unit", "must be a string.")
        if transform not in ("identity", "log"):
            raise _wrong("transform", "must be 'identity' or 'log'.")
        decimals = config.get("decimals", cls.decimals)
        if type(decimals) is not int or not 0 <= decimals <= MAX_DECIMALS:
            raise _wrong("decimals", f"must be a whole number from 0 to {MAX_DECIMALS}.")
        return cls(
            unit=unit,
            transform=cast("Transform", transform),
            mean=_number(config, "mean", cls.mean),
            std=_number(config, "std", cls.std, above=0.0),
            interval=_number(config, "interval", cls.interval, above=0.0, below=1.0),
            offset=_number(config, "offset", cls.offset),
            decimals=decimals,
        )

    def to_network(self, values: Tensor) -> Tensor:
        """From values in their unit to what the network gives; NaN or infinity where the transform has no answer."""
        transformed = values.log() if self.transform == "log" else values
        return (transformed - self.mean) / self.std

    def from_network(self, outputs: Tensor) -> Tensor:
        """The way back."""
        transformed = outputs * self.std + self.mean
        return transformed.exp() if self.transform == "log" else transformed


def _number(
    config: Mapping[str, Any], key: str, default: float, *, above: float = -math.inf, below: float = math.inf
) -> float:
    value = config.get(key, default)
    if type(value) not in (int, float) or not math.isfinite(value):
        raise _wrong(key, "must be a finite number.")
    if not above < value < below:
        raise _wrong(key, f"must be above {above:g}" + ("." if below == math.inf else f" and below {below:g}."))
    return float(value)


def _wrong(key: str, detail: str) -> InvalidSpecError:
    return InvalidSpecError(f"kind_options.{key}", detail)
