"""Flat combining: work that many threads hand in is done for all that wait, by whichever thread comes first.

A lone caller does its own work in its own thread, where handing it to another would cost a switch each way. While one
works, the others' entries gather; they are done together by the next comer, or by a thread kept for what is left over.
See Hendler et al. 2010, "Flat combining and the synchronization-parallelism tradeoff".
"""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

Entry = TypeVar("Entry")


class Combiner(Generic[Entry]):
    """Hands entries to `work` in groups, one group at a time, in the order in which they came.

    Args:
        name: Of the thread that does what is left over.
        work: Gets a group; an empty one when it was woken or its tick is over. Must not raise.
        limit: Most entries of a group.
        tick_s: The thread calls `work` at least this often, also when nothing came. None waits for entries.
    """

    def __init__(
        self,
        name: str,
        work: Callable[[Sequence[Entry]], None],
        *,
        limit: int,
        tick_s: float | None = None,
    ) -> None:
        self._work = work
        self._limit = limit
        self._tick_s = tick_s
        self._inbox: deque[Entry] = deque()
        self._turn = threading.Lock()
        self._wakes: SimpleQueue[None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def submit(self, entries: Sequence[Entry]) -> None:
        """Hand entries in. Returns when they were worked on by this thread, or when another is bound to."""
        self._inbox.extend(entries)
        # Whoever holds the turn looks into the inbox after giving it back, so that no entry is left alone.
        if self._turn.acquire(blocking=False):
            self._take_turn()

    def hand_in(self, entries: Sequence[Entry]) -> None:
        """Hand entries in for the thread to work on. Returns at once, for callers that must never be kept."""
        self._inbox.extend(entries)
        # One that waits already serves these entries too.
        if self._wakes.empty():
            self.wake()

    def wake(self) -> None:
        """Let the thread call `work`, with whatever waits."""
        self._wakes.put(None)

    def _take_turn(self) -> None:
        """Work on one group. What came meanwhile is left to the thread: this caller has its own things to do."""
        group = self._gather()
        try:
            self._work(group)
        finally:
            self._turn.release()
        if self._inbox:
            self.wake()

    def _gather(self) -> list[Entry]:
        return [self._inbox.popleft() for _ in range(min(len(self._inbox), self._limit))]

    def _run(self) -> None:
        while True:
            self._sleep()
            self._turn.acquire()
            self._take_turn()

    def _sleep(self) -> None:
        try:
            self._wakes.get(timeout=self._tick_s)
            # One turn serves every wake that came until now.
            while True:
                self._wakes.get_nowait()
        except Empty:
            return
