"""What the loop of an inference worker is doing, so that others see when it does nothing any more."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

#: A batch whose cost is known may take so many times as long before its device counts as hung.
SLACK = 20.0

#: No batch is hung sooner than this: a busy machine stops anything for a second.
LEAST_BUDGET_S = 2.0


class Progress:
    """Notes of the threads that look for work, prepare it and compute it; read by those that renew and watch.

    Each phase of work is one thread's at a time. Thread safe as dictionaries are.
    """

    def __init__(self) -> None:
        self._due: dict[str, float] = {}
        self._looks = 0

    @property
    def looks(self) -> int:
        """How often the loop looked for work, or ended some."""
        return self._looks

    def note_look(self) -> None:
        """The loop looked for work, whether or not there was any."""
        self._looks += 1

    @contextmanager
    def at_work(self, phase: str, budget_s: float) -> Iterator[None]:
        """Do something that may take so long, in seconds, and counts as hung when it takes longer."""
        self._due[phase] = time.monotonic() + budget_s
        try:
            yield
        finally:
            self._due.pop(phase, None)
            self._looks += 1

    def is_moving(self) -> bool:
        """Whether nothing takes longer than it may."""
        now = time.monotonic()
        return all(now < due for due in list(self._due.values()))

    def is_idle(self) -> bool:
        """Whether nothing is being done."""
        return not self._due


class ComputeBudgets:
    """How long batches may take on this device, by what each version has taken so far. Used by one thread.

    Args:
        most_s: For a version that was never seen, and for any other: after it the claim counts as hung anyway.
    """

    def __init__(self, most_s: float) -> None:
        self._most_s = most_s
        self._slowest_item_s: dict[tuple[str, int], float] = {}

    def budget_s(self, key: tuple[str, int], items: int) -> float:
        """Seconds that a batch of so many items may take."""
        slowest = self._slowest_item_s.get(key)
        if slowest is None:
            return self._most_s
        return min(max(SLACK * slowest * items, LEAST_BUDGET_S), self._most_s)

    def note(self, key: tuple[str, int], items: int, took_s: float) -> None:
        """A batch took so long."""
        if items:
            self._slowest_item_s[key] = max(self._slowest_item_s.get(key, 0.0), took_s / items)
