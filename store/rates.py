"""What versions cost on devices, as their workers measured it, and what follows for sharing work among unequal ones.

No clock, no database: the dispatcher, the workers and the simulation in `benchmarks/` decide with this same code.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

#: A device counts as slower than another only beyond this ratio: measurements on a busy machine vary by as much.
SIMILAR = 1.5

#: The largest batch that throughput is judged by.
LARGE_BATCH = 64

#: What loading is thought to take where nobody loaded that version yet.
UNKNOWN_LOAD_S = 1.0

#: Within this ratio a batch takes hardly longer than a lone item.
HARDLY_LONGER = 1.25

#: A number of items that no batch reaches.
UNBOUNDED = 1_000_000

MS = 1000.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Rate:
    """One version on one device. Seconds.

    Attributes:
        fixed_s: What a batch costs whatever its size, from claim to commit.
        item_s: What each of its items adds.
        max_batch: Most items of a batch of this version.
        load_s: What it took to bring the version onto the device.
        used: Share of what the device could do of this version that it lately did.
        age_s: Time since the last batch, when this was written.
    """

    fixed_s: float
    item_s: float
    max_batch: int = UNBOUNDED
    load_s: float = UNKNOWN_LOAD_S
    used: float = 0.0
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
        """Items in a second without making anybody wait for a batch to end."""
        return self._in_batches_of(min(self.few, LARGE_BATCH))

    @property
    def backlog_per_second(self) -> float:
        """Items in a second while more wait than a batch holds."""
        return self._in_batches_of(min(self.max_batch, LARGE_BATCH))

    @property
    def spare_per_second(self) -> float:
        """Items in a second that it could do beyond what it does."""
        return self.per_second * max(0.0, 1.0 - self.used)

    @property
    def few(self) -> int:
        """Items that together take hardly longer than one."""
        if self.item_s <= 0:
            return self.max_batch
        return max(1, min(int((HARDLY_LONGER * self.one_s - self.fixed_s) / self.item_s), self.max_batch))

    def _in_batches_of(self, count: int) -> float:
        return count / max(self.batch_s(count), 1e-9)

    def dump(self) -> dict[str, float]:
        """Encode for the worker's row, in milliseconds."""
        return {
            "fixed_ms": round(self.fixed_s * MS, 3),
            "item_ms": round(self.item_s * MS, 3),
            "max_batch": self.max_batch,
            "load_ms": round(self.load_s * MS, 1),
            "used": round(self.used, 3),
            "age_ms": round(self.age_s * MS),
        }

    @classmethod
    def load(cls, fields: Mapping[str, Any]) -> Self:
        """Decode what `dump` wrote."""
        return cls(
            fixed_s=fields["fixed_ms"] / MS,
            item_s=fields["item_ms"] / MS,
            # Workers of an earlier release do not tell it.
            max_batch=fields.get("max_batch", UNBOUNDED),
            load_s=fields["load_ms"] / MS,
            used=fields["used"],
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
    """Count the most urgent rows that are better left to faster devices than claimed by this one.

    It is a threshold as in Lin and Kumar, "Optimal control of a queueing system with two heterogeneous servers", 1984.
    With k rows ahead, a row that is left waits k / R for faster devices that do R rows a second. Were that all,
    everybody would come to wait as long as the slowest device takes (simulated: three times as long as need be at 80 %
    load). But a row that is left also delays all that come until the queue is empty again, which takes k / (R - L)
    while L arrive a second. So what counts is what the faster devices have to spare: nothing is left to them when
    they are fully used.

    Args:
        faster: Seconds for one row, and rows a second to spare, of each device that may be faster.
        own_s: Seconds in which this device would finish a row, loading included.

    Returns:
        0 when no device is clearly faster.
    """
    rows = sum((own_s - one_s) * spare for one_s, spare in faster if own_s > one_s * SIMILAR)
    return int(rows)
