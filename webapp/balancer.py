"""Which worker is rung for rows that wait. No I/O, no clock of its own: the simulation runs this same code.

Postgres is the queue, and a worker that is awake claims until nothing is left. So the balancer does not hand out rows;
it decides which sleeping worker is worth waking, and leaves alone whoever would only be slower than one that is awake.
See docs/decisions/0006-balancer.md.
"""

import random
import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from schemas.names import QueueName
from store.rates import LARGE_BATCH, UNKNOWN_LOAD_S, Rates

#: A worker that was rung and let nothing be heard is given up for now after this, or after `PATIENCE` times what it
#: should take at most, whichever is longer.
SILENCE_S = 0.25
PATIENCE = 3.0

#: Most rows that one ring is for.
TAKEN_AT_ONCE = 32


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerView:
    """A live worker as its row tells."""

    worker_id: int
    queue: str
    held: frozenset[str] = frozenset()
    rates: Rates = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Ring:
    """Wake the worker of this queue.

    Attributes:
        queue: Its own queue.
        rows: How many of the rows it is thought to take at once.
        probe: Whether it begins with one row whoever is thought to be faster.
    """

    queue: str
    rows: int = TAKEN_AT_ONCE
    probe: bool = False


#: Rung when no worker is known to live: whichever comes up hears it.
NOBODY = WorkerView(worker_id=0, queue=QueueName.INFERENCE)


class Balancer(ABC):
    """What all policies share: who is awake, and who has been silent for too long.

    Its methods may be called from any thread; times are seconds of one monotonic clock.

    Args:
        rng: Seeded by tests and the simulation.
    """

    #: Whether workers are to leave rows to faster ones.
    paced: ClassVar[bool] = False

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._lock = threading.Lock()
        self._workers: Mapping[str, WorkerView] = {NOBODY.queue: NOBODY}
        self._queues: Mapping[int, str] = {}
        self._rung_at: dict[str, float] = {}
        self._heard_at: dict[str, float] = {}

    def update(self, workers: Sequence[WorkerView], now: float) -> None:
        """Take note of who lives, as read from Postgres."""
        with self._lock:
            self._workers = {worker.queue: worker for worker in workers} or {NOBODY.queue: NOBODY}
            self._queues = {worker.worker_id: worker.queue for worker in workers}
            self._keep_known(now)

    def hear_idle(self, queue: str, now: float) -> None:
        """The worker found nothing left."""
        with self._lock:
            was_rung = self._rung_at.pop(queue, None) is not None
            self._note_idle(queue, now, was_rung=was_rung)

    def hear_finished(self, worker_id: int, now: float, *, failed: bool) -> None:
        """The worker finished rows of ours; `failed` when all of them failed for a reason of its own."""
        with self._lock:
            queue = self._queues.get(worker_id)
            if queue is not None:
                self._heard_at[queue] = now
                self._note_finished(queue, now, failed=failed)

    def choose(self, version: str, waiting: int, waited_s: float, now: float) -> Sequence[Ring]:
        """Choose whom to ring for rows that nobody was rung for.

        Args:
            version: As `model/number`.
            waiting: How many such rows there are.
            waited_s: For how long the oldest of them has waited.
            now: The clock.

        Returns:
            Nothing when whoever is awake will be there first. Those that are returned count as awake from now on.
        """
        with self._lock:
            if len(self._rung_at) >= len(self._workers):
                return ()
            rings = self._choose(version, waiting, waited_s, now)
            for ring in rings:
                self._rung_at[ring.queue] = now
                # A worker that loads says nothing meanwhile.
                self._heard_at[ring.queue] = now + self._load_s(ring.queue, version)
            return rings

    def unring(self, queue: str) -> None:
        """The broker did not take the message."""
        with self._lock:
            self._rung_at.pop(queue, None)

    def give_up_silent(self, now: float) -> list[str]:
        """Return the queues whose workers were rung and have not been heard for too long; they count as asleep now."""
        with self._lock:
            silent = [queue for queue in self._rung_at if now - self._heard_at[queue] > self._silence_s(queue)]
            for queue in silent:
                del self._rung_at[queue]
                self._note_silent(queue, now)
            return silent

    @abstractmethod
    def _choose(self, version: str, waiting: int, waited_s: float, now: float) -> Sequence[Ring]:
        """Return which workers to ring for so many rows, the first of which has waited so long; holds the lock."""

    def _silence_s(self, queue: str) -> float:
        rates = self._workers[queue].rates.values()
        return max([SILENCE_S, *(PATIENCE * rate.batch_s(min(rate.few, LARGE_BATCH)) for rate in rates)])

    def _load_s(self, queue: str, version: str) -> float:
        worker = self._workers[queue]
        if version in worker.held:
            return 0.0
        return worker.rates[version].load_s if version in worker.rates else UNKNOWN_LOAD_S

    def _keep_known(self, _now: float) -> None:
        for known in (self._rung_at, self._heard_at):
            for queue in known.keys() - self._workers.keys():
                del known[queue]

    def _note_idle(self, queue: str, now: float, *, was_rung: bool) -> None:  # noqa: B027 - not every policy learns
        """A worker has nothing left to do."""

    def _note_finished(self, queue: str, now: float, *, failed: bool) -> None:  # noqa: B027 - not every policy learns
        """A worker finished a row."""

    def _note_silent(self, queue: str, now: float) -> None:  # noqa: B027 - not every policy learns
        """A worker was rung and not heard."""


class RoundRobinBalancer(Balancer):
    """Rings one sleeping worker, the next in turn. Knows nothing of speed; kept to be compared with."""

    def __init__(self, rng: random.Random) -> None:
        super().__init__(rng)
        self._turn = 0

    def _choose(self, _version: str, _waiting: int, _waited_s: float, _now: float) -> Sequence[Ring]:
        queues = sorted(self._workers)
        for _ in queues:
            queue = queues[self._turn % len(queues)]
            self._turn += 1
            if queue not in self._rung_at:
                return [Ring(queue)]
        return ()


class RandomBalancer(Balancer):
    """Rings one sleeping worker, any. Knows nothing of speed; kept to be compared with."""

    def _choose(self, _version: str, _waiting: int, _waited_s: float, _now: float) -> Sequence[Ring]:
        return [Ring(self._rng.choice(sorted(self._workers.keys() - self._rung_at.keys())))]
