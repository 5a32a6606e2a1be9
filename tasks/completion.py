"""Group completion: the outcomes of a batch in one statement, then word to those who wait.

While Postgres is away, finished outcomes are kept in memory and on disk, nothing more is claimed, and all is committed
on its return. The fences decide then: an outcome whose row somebody else took up meanwhile is dropped.
"""

import threading
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import redis
import structlog
from sqlalchemy import Engine as Database
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from store.database import HeldConnection, is_outage
from store.errors import ObjectsUnavailableError
from store.failpoints import hit
from store.ledger_rows import Outcome
from tasks.finishing import Finishers
from tasks.outcomes import store_outcomes
from tasks.spool import Spool

log = structlog.get_logger()

# Postgres is asked again after so long while it is away and results wait.
RETRY_S = 0.5


@dataclass(slots=True)
class _Group:
    """Outcomes that belong together, and the kind that has still to finish them; None when that is done."""

    outcomes: Sequence[Outcome]
    kind: str | None


class Completion:
    """Stores outcomes. Thread safe.

    Args:
        database: Durable: what it commits is told to clients.
        replies: Where finished predictions are published.
        finishers: What kinds do with results before they are stored.
        spool: Holds what cannot be stored now.
    """

    def __init__(self, database: Database, replies: redis.Redis, finishers: Finishers, spool: Spool) -> None:
        self._connection = HeldConnection(database)
        self._replies = replies
        self._finishers = finishers
        self._spool = spool
        # Held while anything is stored: the connection and the finishers are one thread's at a time.
        self._lock = threading.Lock()
        self._waiting: deque[_Group] = deque()
        self._retrying: threading.Thread | None = None
        self._closed = threading.Event()

    def finish_batch(self, kind: str, outcomes: Sequence[Outcome]) -> None:
        """Let a kind finish its results, then commit them, now or when Postgres and the object store are there."""
        self._store_or_keep(_Group(outcomes, kind))

    def finish(self, outcomes: Sequence[Outcome]) -> None:
        """Commit outcomes and tell who waits, now or when Postgres is there."""
        self._store_or_keep(_Group(outcomes, None))

    def waits(self) -> bool:
        """Whether anything could not be stored yet: whoever claims more now would pile it up."""
        return bool(self._waiting)

    def settle(self) -> None:
        """Store what waits.

        Raises:
            DBAPIError: Postgres is still away.
            PoolTimeoutError: No connection was free in time.
            ObjectsUnavailableError: The object store is still away.
        """
        with self._lock:
            while self._waiting:
                self._store_or_drop(self._waiting[0])
                self._waiting.popleft()
            self._spool.clear()

    def close(self) -> None:
        """Give the connection back. What still waits is left to whoever starts next, as far as it is on disk."""
        self._closed.set()
        retrying = self._retrying
        if retrying is not None:
            retrying.join()
        with suppress(DBAPIError, PoolTimeoutError, ObjectsUnavailableError):
            self.settle()
        if self._waiting:
            log.warning("results_left_in_spool", count=sum(len(group.outcomes) for group in self._waiting))
        self._spool.close()
        self._connection.close()

    def _store_or_keep(self, group: _Group) -> None:
        with self._lock:
            if self._waiting:
                # What came first is stored first.
                self._keep(group, "others wait")
                return
            # A restart of Postgres breaks the connection that we hold; often the next one is fine already.
            reason = self._try(group) and self._try(group)
            if reason is not None:
                self._keep(group, str(reason))

    def _try(self, group: _Group) -> Exception | None:
        """Store a group; returns the outage that it met."""
        try:
            self._store(group)
        except DBAPIError as error:
            if not is_outage(error):
                raise
            return error
        except (PoolTimeoutError, ObjectsUnavailableError) as error:
            return error
        return None

    def _keep(self, group: _Group, reason: str) -> None:
        # What its kind has not finished is nothing that the ledger could hold.
        is_final = group.kind is None or not self._finishers.has_finisher(group.kind)
        hit("worker.before_spool")
        spooled = is_final and self._spool.append(group.outcomes)
        hit("worker.after_spool")
        log.warning("completion_delayed", count=len(group.outcomes), spooled=spooled, error=reason)
        self._waiting.append(group)
        if self._retrying is None:
            self._retrying = threading.Thread(target=self._retry, name="settle", daemon=True)
            self._retrying.start()

    def _retry(self) -> None:
        while not self._closed.wait(RETRY_S):
            try:
                self.settle()
            except (DBAPIError, PoolTimeoutError, ObjectsUnavailableError):
                # Still away; the log said so when the first result began to wait.
                continue
            with self._lock:
                if not self._waiting:
                    log.info("completion_caught_up")
                    self._retrying = None
                    return

    def _store_or_drop(self, group: _Group) -> None:
        try:
            self._store(group)
        except DBAPIError as error:
            if is_outage(error):
                raise
            # Nobody hears this thread, and what Postgres refuses it refuses for ever: its rows are taken back.
            log.exception("results_refused", count=len(group.outcomes))

    def _store(self, group: _Group) -> None:
        if group.kind is not None:
            group.outcomes = self._finish_results(group.kind, group.outcomes)
            group.kind = None
        store_outcomes(self._connection, self._replies, group.outcomes)

    def _finish_results(self, kind: str, outcomes: Sequence[Outcome]) -> list[Outcome]:
        answered = [(outcome.claim, outcome.result) for outcome in outcomes if outcome.result is not None]
        results = self._finishers.finish(kind, [claim for claim, _ in answered], [result for _, result in answered])
        by_id = {claim.id: result for (claim, _), result in zip(answered, results, strict=True)}
        return [replace(outcome, result=by_id.get(outcome.claim.id)) for outcome in outcomes]
