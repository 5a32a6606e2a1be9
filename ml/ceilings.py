"""How many items fit one forward: found out where memory ran short, and tried again slowly.

Memory runs short for two reasons that look the same: the batch is too large for the device, which stays so, or somebody
else holds memory just now, which passes. So a ceiling rises again, and every time that this fails it waits longer.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch

REGROW_AFTER = 64
"""Full batches without trouble before a ceiling that was found out once is doubled."""

MAX_PATIENCE = 64
"""The wait doubles with every failure up to so many times the first: a failed try costs one batch in 4,096."""


@dataclass(frozen=True, slots=True)
class Ceiling:
    """What is worth remembering of one model, device and shape of item.

    Args:
        items: Most items in one forward.
        failures: How often memory ran short.
    """

    items: int
    failures: int


class BatchCeiling:
    """The ceiling of one model for one shape of item, as it changes. Used by one thread at a time.

    Args:
        limit: Items in one forward that the model's configuration allows.
        known: What was found out before, perhaps in another process.
    """

    def __init__(self, limit: int, known: Ceiling | None = None) -> None:
        self._limit = limit
        self._items = limit if known is None else max(1, min(limit, known.items))
        self._failures = 0 if known is None else known.failures
        self._clean = 0

    @property
    def items(self) -> int:
        """Most items in one forward."""
        return self._items

    def learned(self) -> Ceiling:
        """What to remember."""
        return Ceiling(self._items, self._failures)

    def note_success(self, count: int) -> bool:
        """A forward of ``count`` items went well. Returns whether the ceiling rose."""
        if self._items == self._limit or count < self._items:
            # A smaller batch says nothing of whether a larger one would fit.
            return False
        self._clean += 1
        if self._clean < REGROW_AFTER * min(2 ** (self._failures - 1), MAX_PATIENCE):
            return False
        self._items, self._clean = min(self._items * 2, self._limit), 0
        return True

    def note_out_of_memory(self, count: int) -> bool:
        """A forward of ``count`` items ran out of memory. Returns whether the ceiling sank."""
        before = self._items
        self._items, self._clean = max(1, min(self._items, count // 2)), 0
        if self._items == before:
            return False
        self._failures += 1
        return True


class Ceilings:
    """The ceilings of one model, by the shape of its items. Used by one thread at a time.

    Args:
        limit: Items in one forward that the model's configuration allows.
        known: What was found out before, by shape as ``shape_name`` writes it.
    """

    def __init__(self, limit: int, known: Mapping[str, Ceiling]) -> None:
        self._limit = limit
        self._known = known
        self._by_shape: dict[str, BatchCeiling] = {}
        self._changed: set[str] = set()

    def of(self, item: torch.Tensor) -> int:
        """Most items like this one in one forward."""
        return self._find(shape_name(item)).items

    def note_success(self, item: torch.Tensor, count: int) -> None:
        """A forward of ``count`` items like this one went well."""
        shape = shape_name(item)
        if self._find(shape).note_success(count):
            self._changed.add(shape)

    def note_out_of_memory(self, item: torch.Tensor, count: int) -> None:
        """A forward of ``count`` items like this one ran out of memory."""
        shape = shape_name(item)
        if self._find(shape).note_out_of_memory(count):
            self._changed.add(shape)

    def take_learned(self) -> dict[str, Ceiling]:
        """What changed since this was asked last, by shape."""
        changed, self._changed = self._changed, set()
        return {shape: self._by_shape[shape].learned() for shape in changed}

    def _find(self, shape: str) -> BatchCeiling:
        if shape not in self._by_shape:
            self._by_shape[shape] = BatchCeiling(self._limit, self._known.get(shape))
        return self._by_shape[shape]


def shape_name(item: torch.Tensor) -> str:
    """The shape of one item, such as ``3x224x224``."""
    return "x".join(map(str, item.shape))
