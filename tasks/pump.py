"""The pump: claims webhook deliveries that are due, has them sent side by side, and records how each ended.

One thread alone speaks with Postgres; the others only send. What is recorded meanwhile gathers, so that many outcomes
share a commit. A process that dies between sending and recording leaves a claim, which is taken back and sent again
under the same id: at least once.
"""

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue

import structlog
from sqlalchemy import Engine as Database
from sqlalchemy.exc import DBAPIError

from store.database import HeldConnection, is_outage
from store.delivery_ledger import (
    BreakerRule,
    DeliveryClaim,
    DeliveryOutcome,
    claim_deliveries,
    record_outcomes,
    take_back,
)
from tasks.life import WorkerLife

log = structlog.get_logger()

#: Requests at once.
SENDERS = 32

#: Of these, so many to endpoints that failed last time: what does not answer must not take every sender.
FAILING_SENDERS = 8

#: A delivery is seen so long after it was written.
POLL_S = 0.25

#: What other senders left behind is looked for this often.
TEND_S = 2.0

#: What is being sent when the process is told to stop has so long; the rest is sent again by the next.
DRAIN_S = 5.0

#: Postgres is asked again after so long while it is away.
RETRY_S = 0.5

Send = Callable[[DeliveryClaim], DeliveryOutcome]


class Pump:
    """Sends deliveries until told to stop.

    Args:
        database: Where they are.
        send: Attempts one; called by many threads.
        life: Whose claims they are.
        breaker: When an endpoint that fails is left alone.
        senders: Requests at once.
    """

    def __init__(
        self,
        database: Database,
        send: Send,
        life: WorkerLife,
        *,
        breaker: BreakerRule | None = None,
        senders: int = SENDERS,
    ) -> None:
        self._connection = HeldConnection(database)
        self._send = send
        self._life = life
        self._breaker = breaker or BreakerRule()
        self._senders = senders
        self._claims: SimpleQueue[DeliveryClaim | None] = SimpleQueue()
        # None only wakes the loop.
        self._outcomes: SimpleQueue[DeliveryOutcome | None] = SimpleQueue()
        self._in_flight: dict[int, DeliveryClaim] = {}
        # Set by a signal handler, which may interrupt whoever holds an event's lock: a plain boolean has none.
        self._stopping = False
        self._tended_at = 0.0

    def run(self) -> None:
        """Send until told to stop, then let what is being sent finish."""
        threads = [
            threading.Thread(target=self._work, name=f"sender-{index}", daemon=True) for index in range(self._senders)
        ]
        for thread in threads:
            thread.start()
        wait_s = 0.0
        while not self._stopping:
            self._record(self._gather(wait_s))
            wait_s = 0.0 if self._claim() else POLL_S
        self._drain()
        for _ in threads:
            self._claims.put(None)
        self._connection.close()

    def stop(self) -> None:
        """Let `run` return soon. May be called by a signal handler."""
        self._stopping = True
        self._outcomes.put(None)

    def _work(self) -> None:
        while (claim := self._claims.get()) is not None:
            self._outcomes.put(self._send(claim))

    def _gather(self, wait_s: float) -> list[DeliveryOutcome]:
        """Take the outcomes that are there; wait for a first one."""
        found: list[DeliveryOutcome | None] = []
        with suppress(Empty):
            found.append(self._outcomes.get(timeout=wait_s) if wait_s else self._outcomes.get_nowait())
            while True:
                found.append(self._outcomes.get_nowait())
        return [outcome for outcome in found if outcome is not None]

    def _record(self, outcomes: Sequence[DeliveryOutcome]) -> None:
        """Write outcomes down; while Postgres is away they wait, unless we are told to stop."""
        while outcomes:
            try:
                with self._connection.use() as connection:
                    moved = record_outcomes(connection, outcomes, self._breaker)
                break
            except DBAPIError as error:
                self._rest(error)
                if self._stopping:
                    return
        for outcome in outcomes:
            self._in_flight.pop(outcome.claim.fence, None)
        if outcomes:
            log.info("deliveries_attempted", count=len(outcomes), fenced=len(outcomes) - moved)

    def _claim(self) -> bool:
        """Claim what there is room for and hand it out. Returns whether there was anything."""
        room = self._senders - len(self._in_flight)
        if not room or not self._life.is_valid():
            return False
        failing = sum(claim.is_failing for claim in self._in_flight.values())
        try:
            with self._connection.use() as connection:
                if time.monotonic() - self._tended_at > TEND_S:
                    self._tended_at = time.monotonic()
                    take_back(connection)
                claims = claim_deliveries(
                    connection,
                    worker_id=self._life.worker_id,
                    limit=room,
                    failing_limit=max(0, FAILING_SENDERS - failing),
                )
        except DBAPIError as error:
            self._rest(error)
            return False
        for claim in claims:
            self._in_flight[claim.fence] = claim
            self._claims.put(claim)
        return bool(claims)

    def _drain(self) -> None:
        until = time.monotonic() + DRAIN_S
        while self._in_flight and (left_s := until - time.monotonic()) > 0:
            self._record(self._gather(left_s))

    def _rest(self, error: DBAPIError) -> None:
        if not is_outage(error):
            raise error
        log.warning("deliveries_delayed", in_flight=len(self._in_flight), error=str(error.orig))
        time.sleep(RETRY_S)
