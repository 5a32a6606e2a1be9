"""Answers that are remembered: the same input to the same version of a model is computed once.

One memory a process, bounded for each model by bytes and age. A key holds the tenant, because a cached answer tells
that somebody asked before, and the version, so that a promotion leaves all older answers out of reach. Requests for
what is being computed right now wait for it. Every hit is stored as a prediction of its own.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from cachetools import TLRUCache
from prometheus_client import Counter

from schemas.messages import PredictionFinished
from schemas.model_settings import CacheSettings
from store.ledger_rows import Answer
from store.models import ServedVersion
from webapp.tickets import Ticket

Key = tuple[int, int, str]
"""Tenant, model version, SHA-256 of the input."""

#: What an entry costs beside its result, roughly: the key, the hash table, the bookkeeping of age and use.
ENTRY_BYTES = 600

MS = 1000.0

LOOKUPS = Counter(
    "torchqueue_cache_lookups_total",
    "Requests to models that remember answers: `hit` from memory, `shared` with one in flight, `miss` computed.",
    ["model", "outcome"],
)
SAVED = Counter(
    "torchqueue_cache_saved_seconds_total",
    "Decoding and computing that hits did not repeat, as the batch of the first answer took it.",
    ["model"],
)


@dataclass(frozen=True, slots=True)
class Remembered:
    """The answer of an earlier prediction; `size` in bytes."""

    result: dict[str, Any]
    spent_ms: float
    size: int

    @classmethod
    def of(cls, event: PredictionFinished | None) -> "Remembered | None":
        """Take from a finished prediction what may be given again; failures are tried anew."""
        if event is None or event.result is None:
            return None
        spent_ms = (event.decode_ms or 0.0) + (event.compute_ms or 0.0)
        return cls(event.result, spent_ms, len(orjson.dumps(event.result)) + ENTRY_BYTES)


class Computation:
    """One that is in flight, and that others wait for."""

    __slots__ = ("_done", "_outcome")

    def __init__(self) -> None:
        self._done = threading.Event()
        self._outcome: Remembered | None = None

    def settle(self, outcome: Remembered | None) -> None:
        """Tell those who wait; None when there is nothing to share."""
        self._outcome = outcome
        self._done.set()

    def wait(self, timeout_s: float) -> Remembered | None:
        """Return what came of it; None when that is nothing, or the time is up."""
        self._done.wait(timeout_s)
        return self._outcome


class ResultCache:
    """The memory of one web process."""

    def __init__(self) -> None:
        self._memories: dict[int, tuple[CacheSettings, TLRUCache[Key, Remembered]]] = {}
        self._in_flight: dict[Key, Computation] = {}
        self._lock = threading.Lock()

    def run(self, ticket: Ticket, sha256: str, settings: CacheSettings, run: Callable[[Ticket], None]) -> None:
        """Run a ticket, with the answer where one is remembered or about to be.

        Args:
            ticket: To run; its `answer` is set where one is known.
            sha256: Hex hash of its input.
            settings: What the model remembers.
            run: Stores the ticket and waits for its end.
        """
        key = (ticket.submission.api_key_id, ticket.version.model_version_id, sha256)
        with self._lock:
            known = self._memory(ticket, settings).get(key)
            computation = None if known else self._in_flight.get(key)
            # Who does not wait for the end will not know it, and nobody could share it.
            leading = known is None and computation is None and ticket.wait_s > 0
            if leading:
                computation = self._in_flight[key] = Computation()
        if leading and computation is not None:
            self._lead(ticket, key, settings, computation, run)
            return
        self._follow(ticket, known, computation, run)

    def may_answer(self, version: ServedVersion, api_key_id: int, sha256: str) -> bool:
        """Whether an answer is remembered, or about to be: such a request needs no room in the queue."""
        settings = version.settings.cache
        key = (api_key_id, version.model_version_id, sha256)
        with self._lock:
            known = self._memories.get(version.model_id)
            return key in self._in_flight or (known is not None and known[0] == settings and key in known[1])

    def forget(self, answered: Sequence[tuple[int, int]]) -> None:
        """Give none of these tenants an answer of these versions from memory again, as pairs of both."""
        gone = set(answered)
        with self._lock:
            for _, memory in self._memories.values():
                for key in [key for key in memory if key[:2] in gone]:
                    memory.pop(key, None)

    def _lead(
        self, ticket: Ticket, key: Key, settings: CacheSettings, computation: Computation, run: Callable[[Ticket], None]
    ) -> None:
        LOOKUPS.labels(ticket.version.model, "miss").inc()
        try:
            run(ticket)
        finally:
            outcome = Remembered.of(ticket.finished)
            with self._lock:
                del self._in_flight[key]
                if outcome is not None and outcome.size <= settings.max_bytes:
                    self._memory(ticket, settings)[key] = outcome
            computation.settle(outcome)

    def _follow(
        self,
        ticket: Ticket,
        known: Remembered | None,
        computation: Computation | None,
        run: Callable[[Ticket], None],
    ) -> None:
        outcome = "hit"
        if known is None and computation is not None and ticket.wait_s > 0:
            outcome = "shared"
            # Half of the client's patience: should nothing come of it, the other half is for computing it here.
            known = computation.wait(ticket.wait_s / 2)
        if known is None:
            outcome = "miss"
        else:
            SAVED.labels(ticket.version.model).inc(known.spent_ms / MS)
            ticket.answer = Answer(result=known.result, elapsed_ms=ticket.elapsed_ms(), cached=True)
        LOOKUPS.labels(ticket.version.model, outcome).inc()
        run(ticket)

    def _memory(self, ticket: Ticket, settings: CacheSettings) -> "TLRUCache[Key, Remembered]":
        """The model's memory; it begins anew when its settings change. Call it with the lock held."""
        found = self._memories.get(ticket.version.model_id)
        if found is None or found[0] != settings:
            found = (
                settings,
                TLRUCache(
                    settings.max_bytes,
                    ttu=lambda _key, _value, now: now + settings.ttl_s,
                    getsizeof=lambda entry: entry.size,
                ),
            )
            self._memories[ticket.version.model_id] = found
        return found[1]
