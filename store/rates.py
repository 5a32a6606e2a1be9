"""What versions cost on devices, as their workers measured it, and what follows for sharing work among unequal ones.

No clock, no database: the dispatcher, the workers and the simulation in `benchmarks/` decide with this same code.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

#: A device counts as slower than another only beyond this ratio: measurements on a busy machine vary by as much.
SIMILAR = 1.5

#: Batch by which throughputs are compared.
TYPICAL_BATCH = 16

#: What loading is thought to take where nobody loaded that version yet.
UNKNOWN_LOAD_S = 1.0

MS = 1000.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Rate:
    """One version on one device. Seconds.

    Attributes:
        fixed_s: What a batch costs whatever its size, from claim to commit.
        item_s: What each of its items adds.
        load_s: What it took to bring the version onto the device.
        age_s: Time since the last batch, when this was written.
    """

    fixed_s: float
    item_s: float
    load_s: float = UNKNOWN_LOAD_S
    age_s: float = 0.0

    def batch_s(self, count: int) -> float:
        """Return what a batch of so many items takes."""
        return self.fixed_s + self.item_s * count

    @property
    def one_s(self) -> float:
        """What a lone item takes."""
        return self.fixed_s + self.item_s

    @property
    def per_second(self) -> float:
        """Items in a second when many wait."""
        return TYPICAL_BATCH / max(self.batch_s(TYPICAL_BATCH), 1e-9)

    def dump(self) -> dict[str, float]:
        """Encode for the worker's row, in milliseconds."""
        return {
            "fixed_ms": round(self.fixed_s * MS, 3),
            "item_ms": round(self.item_s * MS, 3),
            "load_ms": round(self.load_s * MS, 1),
            "age_ms": round(self.age_s * MS),
        }

    @classmethod
    def load(cls, fields: Mapping[str, Any]) -> Self:
        """Decode what `dump` wrote."""
        return cls(
            fixed_s=fields["fixed_ms"] / MS,
            item_s=fields["item_ms"] / MS,
            load_s=fields["load_ms"] / MS,
            age_s=fields["age_ms"] / MS,
        )


Rates = Mapping[str, Rate]
"""By version, as `model/number`."""


def dump_rates(rates: Rates) -> dict[str, dict[str, float]]:
    """Encode the rates of a worker for its row."""
    return {version: rate.dump() for version, rate in rates.items()}


def load_rates(fields: Mapping[str, Mapping[str, Any]]) -> dict[str, Rate]:
    """Decode the rates of a worker's row."""
    return {version: Rate.load(rate) for version, rate in fields.items()}


def rows_left_to(faster: Iterable[tuple[float, float]], own_s: float) -> int:
    """Count the most urgent rows that faster devices will have finished before this one would finish a single row.

    A device that leaves them alone makes nobody wait longer: the slower server's threshold of Lin and Kumar ("Optimal
    control of a queueing system with two heterogeneous servers", 1984), counted in rows.

    Args:
        faster: Seconds for one row, and rows a second, of each device that may be faster.
        own_s: Seconds in which this device would finish a row, loading included.

    Returns:
        0 when no device is clearly faster.
    """
    rows = sum((own_s - one_s) * per_second for one_s, per_second in faster if own_s > one_s * SIMILAR)
    return int(rows)
