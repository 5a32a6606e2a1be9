"""Rows of this process that are not known to be finished, and which of them nobody was rung for."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from itertools import islice

from webapp.forecast import Place

Version = tuple[str, int]
"""A model's name and the number of its version."""

#: Word of a row may be lost; after this the sweeper has found it, and nobody rings for it from here.
FORGET_AFTER_S = 60.0


class Backlog:
    """What the dispatcher has yet to see to. Each step costs the same however many rows there are.

    May be used from any thread; times are seconds of one monotonic clock.

    Args:
        leave: Told the place of each row that is known to be terminal; not of one that is merely lost sight of.
    """

    def __init__(self, leave: Callable[[Place], None] = lambda _place: None) -> None:
        self._leave = leave
        # Ordered dictionaries, because the first entry of a plain one is found ever more slowly as entries leave.
        self._rows: OrderedDict[str, tuple[Version, float, Place | None]] = OrderedDict()
        self._unrung: dict[Version, OrderedDict[str, float]] = {}
        self._rung: dict[str, Sequence[str]] = {}
        self._lock = threading.Lock()

    @property
    def is_open(self) -> bool:
        """Whether any row is not known to be finished."""
        return bool(self._rows)

    def add(self, prediction_id: str, version: Version, now: float, place: Place | None = None) -> None:
        """A row was committed."""
        with self._lock:
            self._rows[prediction_id] = (version, now, place)
            self._unrung.setdefault(version, OrderedDict())[prediction_id] = now

    def forget(self, ids: Sequence[str]) -> None:
        """These are terminal."""
        with self._lock:
            rows = [self._forget(prediction_id) for prediction_id in ids]
        for row in rows:
            if row is not None and row[2] is not None:
                self._leave(row[2])

    def has_unrung(self) -> bool:
        """Whether there are rows that nobody was rung for."""
        with self._lock:
            return any(self._unrung.values())

    def unrung(self, now: float) -> list[tuple[Version, int, float]]:
        """List the versions with rows that nobody was rung for: how many, and how many seconds the oldest waits."""
        with self._lock:
            self._drop_lost(now)
            return [
                (version, len(rows), now - next(iter(rows.values()))) for version, rows in self._unrung.items() if rows
            ]

    def hand_over(self, queue: str, version: Version, most: int) -> list[str]:
        """The worker of this queue is rung for rows of a version. Returns the ids of the oldest, `most` at most."""
        with self._lock:
            rows = self._unrung[version]
            handed = list(islice(rows, most))
            for prediction_id in handed:
                del rows[prediction_id]
            self._rung[queue] = handed
            return handed

    def take_back(self, queue: str) -> None:
        """The worker of this queue is silent: what it was rung for and is not finished waits for another."""
        with self._lock:
            for prediction_id in self._rung.pop(queue, ()):
                row = self._rows.get(prediction_id)
                if row is not None:
                    version, added_at, _ = row
                    self._unrung[version][prediction_id] = added_at

    def _forget(self, prediction_id: str) -> tuple[Version, float, Place | None] | None:
        row = self._rows.pop(prediction_id, None)
        if row is not None:
            self._unrung[row[0]].pop(prediction_id, None)
        return row

    def _drop_lost(self, now: float) -> None:
        while self._rows:
            prediction_id, (_, added_at, _) = next(iter(self._rows.items()))
            if now - added_at <= FORGET_AFTER_S:
                return
            self._forget(prediction_id)
