"""Group commit: one thread at a time writes what all request threads hand in, then rings.

It takes everything that waits, inserts it in one statement with one commit, and rings a worker once for each
model version. There is no timer: while one commit runs, the next group gathers, so a lone request waits for
nobody, not even for another thread, and a crowd shares the cost of the commit.

Nor is every group rung. A worker that was rung claims until it finds nothing, and then says that it is idle;
until it does, rows need no doorbell of their own. See docs/decisions/0002-group-commit.md.
"""

import math
import time
from collections import defaultdict
from collections.abc import Callable, Sequence

import structlog
from sqlalchemy import Engine as Database
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from schemas.messages import RunPredictions
from schemas.names import QueueName
from store import ledger
from store.database import HeldConnection
from tasks.doorbell import Doorbell
from webapp.combiner import Combiner
from webapp.errors import DatabaseUnavailableError, InvalidInputError
from webapp.tickets import Ticket

log = structlog.get_logger()

#: Most rows of one insert.
GROUP_LIMIT = 256

#: A worker that was rung and never said that it is idle is rung again after so long.
SILENCE_S = 1.0

# Rows that wait for a doorbell are looked at this often.
TICK_S = 0.1


class Dispatcher:
    """Accepts submissions and sees to it that a worker hears of them.

    Args:
        database: Durable; one connection is held.
        doorbell: Used by one thread at a time.
        live_queues: Tells the queues of the inference workers that are alive.
    """

    def __init__(self, database: Database, doorbell: Doorbell, live_queues: Callable[[], Sequence[str]]) -> None:
        self._connection = HeldConnection(database)
        self._doorbell = doorbell
        self._live_queues = live_queues
        self._combiner = Combiner[Ticket]("submitter", self._work, limit=GROUP_LIMIT, tick_s=TICK_S)
        self._unrung: dict[str, tuple[str, int]] = {}
        self._rung_at: dict[str, float] = {}

    def start(self) -> None:
        """Begin to take submissions."""
        self._combiner.start()

    def submit(self, tickets: Sequence[Ticket]) -> None:
        """Hand over submissions; each ticket is settled when its group is committed or refused."""
        self._combiner.submit(tickets)

    def forget(self, ids: Sequence[str]) -> None:
        """These are terminal: nobody needs to hear of them any more. Called from the listener's thread."""
        for prediction_id in ids:
            self._unrung.pop(prediction_id, None)

    def hear_idle(self, queues: Sequence[str]) -> None:
        """The worker of these queues found nothing left. Called from the listener's thread."""
        for queue in queues:
            self._rung_at.pop(queue, None)
        if self._unrung:
            # This thread may not ring: a frozen broker must not keep it from hearing.
            self._combiner.wake()

    def _work(self, group: Sequence[Ticket]) -> None:
        try:
            self._commit([ticket for ticket in group if ticket.answer is None])
            self._record([ticket for ticket in group if ticket.answer is not None])
            self._ring()
        except Exception:  # Whoever works for others must outlive any fault, or their requests would hang.
            log.exception("submitter_fault", count=len(group))
            for ticket in group:
                if ticket.accepted_at is None and ticket.finished is None and not ticket.repeated:
                    ticket.refuse(DatabaseUnavailableError("the request could not be stored; try again"))

    def _commit(self, group: Sequence[Ticket]) -> None:
        """Write what a worker is to answer."""
        if not group:
            return
        try:
            with self._connection.use() as connection:
                accepted = ledger.submit(connection, [ticket.submission for ticket in group])
        except SQLAlchemyError as error:
            self._refuse(group, error, self._commit)
            return
        for ticket in group:
            at = accepted.get(ticket.submission.id)
            if at is None:
                ticket.repeat()
                continue
            self._unrung[str(ticket.submission.id)] = (ticket.version.model, ticket.version.number)
            ticket.accept(at)

    def _record(self, group: Sequence[Ticket]) -> None:
        """Write what is answered already."""
        if not group:
            return
        try:
            with self._connection.use() as connection:
                recorded = ledger.record(
                    connection, [(ticket.submission, ticket.answer) for ticket in group if ticket.answer is not None]
                )
        except SQLAlchemyError as error:
            self._refuse(group, error, self._record)
            return
        for ticket in group:
            event = recorded.get(ticket.submission.id)
            if event is None:
                ticket.repeat()
            else:
                ticket.finish(event)

    def _refuse(
        self, group: Sequence[Ticket], error: SQLAlchemyError, write: Callable[[Sequence[Ticket]], None]
    ) -> None:
        """Refuse a group that Postgres did not take; when the data is at fault, only those whose data it is."""
        if isinstance(error, DBAPIError) and type(error).__name__ == "DataError":
            if len(group) == 1:
                group[0].refuse(InvalidInputError("input", "the database cannot hold this input"))
                return
            for ticket in group:
                write([ticket])
            return
        log.warning("group_refused", count=len(group), error=str(error))
        for ticket in group:
            refusal = DatabaseUnavailableError("the database is away; nothing was accepted, try again")
            refusal.__cause__ = error
            ticket.refuse(refusal)

    def _ring(self) -> None:
        """Ring one worker that is not awake already for all rows that nobody was rung for."""
        if not self._unrung:
            return
        queue = self._sleeping_queue()
        if queue is None:
            return
        by_version: defaultdict[tuple[str, int], list[str]] = defaultdict(list)
        for prediction_id, version in list(self._unrung.items()):
            by_version[version].append(prediction_id)
        # Noted before it is sent: a quick worker is idle again before the sending returns.
        self._rung_at[queue] = time.monotonic()
        for (model, number), ids in by_version.items():
            if not self._doorbell.ring(queue, RunPredictions(model=model, version=number, prediction_ids=ids)):
                self._rung_at.pop(queue, None)
            # Also after a failure: the worker's safety poll and the sweeper find the rows without us.
            self.forget(ids)

    def _sleeping_queue(self) -> str | None:
        silent_since = time.monotonic() - SILENCE_S
        for queue in self._live_queues() or [QueueName.INFERENCE]:
            if self._rung_at.get(queue, -math.inf) <= silent_since:
                return queue
        return None
