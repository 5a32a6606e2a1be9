"""Group commit: one thread at a time writes what all requests hand in, then rings.

It takes everything that waits, inserts it in one statement with one commit, and rings a worker once for each
model version. There is no timer: while one commit runs, the next group gathers, so a lone request waits for
nobody, and a crowd shares the cost of the commit.

Nor is every group rung. A worker that was rung claims until it finds nothing, and then says that it is idle;
until it does, rows need no doorbell of their own. See docs/decisions/0002-group-commit.md.
"""

import time
from collections.abc import Callable, Sequence
from typing import Protocol

import structlog
from sqlalchemy import Engine as Database
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from schemas.enums import ErrorCode
from schemas.messages import FetchInputs, PredictionFinished, RunPredictions
from store import ledger
from store.database import HeldConnection
from store.failpoints import hit, hit_when_sent
from tasks.doorbell import Doorbell
from webapp.backlog import Backlog
from webapp.balancer import Balancer, Ring
from webapp.combiner import Combiner
from webapp.errors import DatabaseUnavailableError, InvalidInputError
from webapp.forecast import DELAYS_S, RANKS, Place
from webapp.inline import InlinePlace
from webapp.tickets import Ticket

log = structlog.get_logger()

#: Most rows of one insert.
GROUP_LIMIT = 256

#: A prediction that failed so was not to blame, but its worker.
WORKER_FAULTS = frozenset({ErrorCode.INTERNAL, ErrorCode.OUT_OF_MEMORY, ErrorCode.MODEL_UNAVAILABLE})

# Rows that wait for a doorbell are looked at this often.
TICK_S = 0.05


class Queue(Protocol):
    """Is told what waits."""

    def enter(self, place: Place, delay_s: float) -> None:
        """A row was committed whose turn is so many seconds behind its acceptance."""

    def leave(self, place: Place) -> None:
        """A row that entered is terminal."""


class Dispatcher:
    """Accepts submissions and sees to it that a worker hears of them.

    Args:
        database: Durable; one connection is held.
        doorbell: Used by one thread at a time.
        balancer: Chooses whom to ring.
        inline: Answers what is to be answered in this process; None where nothing is.
        queue: Told which rows were committed, and which of them ended.
    """

    def __init__(
        self,
        database: Database,
        doorbell: Doorbell,
        balancer: Balancer,
        inline: InlinePlace | None = None,
        queue: Queue | None = None,
    ) -> None:
        self._connection = HeldConnection(database)
        self._doorbell = doorbell
        self._balancer = balancer
        self._inline = inline
        self._queue = queue
        self._backlog = Backlog() if queue is None else Backlog(queue.leave)
        self._combiner = Combiner[Ticket]("submitter", self._work, limit=GROUP_LIMIT, tick_s=TICK_S)

    def start(self) -> None:
        """Begin to take submissions."""
        self._combiner.start()

    def submit(self, tickets: Sequence[Ticket]) -> None:
        """Hand over submissions; each ticket is settled when its group is committed or refused."""
        self._combiner.submit(tickets)

    def hand_in(self, tickets: Sequence[Ticket]) -> None:
        """Hand over submissions without ever waiting, as an event loop must."""
        self._combiner.hand_in(tickets)

    def hear_finished(self, events: Sequence[PredictionFinished]) -> None:
        """These are terminal: nobody needs to hear of them any more. Called from the listener's thread."""
        self._backlog.forget([event.id for event in events])
        by_worker: dict[int | None, bool] = {}
        for event in events:
            by_worker[event.worker_id] = by_worker.get(event.worker_id, True) and event.error_code in WORKER_FAULTS
        now = time.monotonic()
        for worker_id, failed in by_worker.items():
            if worker_id is not None:
                self._balancer.hear_finished(worker_id, now, failed=failed)

    def hear_idle(self, queues: Sequence[str]) -> None:
        """The worker of these queues found nothing left. Called from the listener's thread."""
        now = time.monotonic()
        for queue in queues:
            self._balancer.hear_idle(queue, now)
        if self._backlog.has_unrung():
            # This thread may not ring: a frozen broker must not keep it from hearing.
            self._combiner.wake()

    def _work(self, group: Sequence[Ticket]) -> None:
        try:
            # One whose client was told meanwhile that the database hangs is refused already.
            group = [ticket for ticket in group if ticket.error is None]
            self._answer([ticket for ticket in group if ticket.inline and ticket.answer is None])
            self._commit([ticket for ticket in group if ticket.answer is None])
            self._record([ticket for ticket in group if ticket.answer is not None])
            self._ring()
        except Exception:  # Whoever works for others must outlive any fault, or their requests would hang.
            log.exception("submitter_fault", count=len(group))
            for ticket in group:
                if ticket.accepted_at is None and ticket.finished is None and not ticket.repeated:
                    ticket.refuse(DatabaseUnavailableError("the request could not be stored; try again"))

    def _answer(self, group: Sequence[Ticket]) -> None:
        """Compute what is computed here: one batch of all that waited for the commit before this one.

        A batch of its own while that commit ran would be a few rows, and cost as much as this one.
        """
        if group and self._inline is not None:
            self._inline.answer(group)

    def _commit(self, group: Sequence[Ticket]) -> None:
        """Write what a worker is to answer."""
        if not group:
            return
        try:
            with self._connection.use() as connection:
                hit("web.before_insert")
                hit_when_sent("web.before_commit")
                accepted = ledger.submit(connection, [ticket.submission for ticket in group])
        except SQLAlchemyError as error:
            self._refuse(group, error, self._commit)
            return
        hit("web.after_commit")
        now = time.monotonic()
        for ticket in group:
            at = accepted.get(ticket.submission.id)
            if at is None:
                ticket.repeat()
                continue
            if ticket.submission.image_url is None:
                self._await_turn(ticket, now)
            ticket.accept(at)
        self._ring_fetcher([ticket for ticket in group if ticket.submission.image_url is not None])

    def _await_turn(self, ticket: Ticket, now: float) -> None:
        """Count a ticket among those that wait for a worker, and have one rung."""
        place = place_of(ticket)
        if self._queue is not None:
            self._queue.enter(place, DELAYS_S[place.rank] + ticket.submission.lag_s)
        version = (ticket.version.model, ticket.version.number)
        self._backlog.add(str(ticket.submission.id), version, now, place)

    def _ring_fetcher(self, group: Sequence[Ticket]) -> None:
        """Have pictures fetched; the fetcher rings a worker when they are there. It also looks by itself."""
        ids = [str(ticket.submission.id) for ticket in group if ticket.accepted_at is not None]
        if ids:
            self._doorbell.request_fetch(FetchInputs(prediction_ids=ids))

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
        """Ring the workers that are worth waking for the rows that nobody was rung for."""
        if not self._backlog.is_open:
            return
        now = time.monotonic()
        for queue in self._balancer.give_up_silent(now):
            self._backlog.take_back(queue)
        for version, waiting, waited_s in self._backlog.unrung(now):
            # They count as awake before the messages are sent: a quick worker is idle again before a sending returns.
            for ring in self._balancer.choose(f"{version[0]}/{version[1]}", waiting, waited_s, now):
                self._send(ring, version)

    def _send(self, ring: Ring, version: tuple[str, int]) -> None:
        ids = self._backlog.hand_over(ring.queue, version, ring.rows)
        message = RunPredictions(model=version[0], version=version[1], prediction_ids=ids, probe=ring.probe)
        if not self._doorbell.ring(ring.queue, message):
            # The rows are found without us too, by the worker's safety poll and the sweeper; but a broker that was only
            # slow for a moment takes the next message.
            self._balancer.unring(ring.queue)
            self._backlog.take_back(ring.queue)
        hit("web.after_ring")


def place_of(ticket: Ticket) -> Place:
    """Tell where a ticket's row waits. One that answers nobody counts against no tenant."""
    submission, version = ticket.submission, ticket.version
    tenant = None if submission.shadow_of is not None else submission.api_key_id
    return Place(tenant, RANKS[submission.priority], f"{version.model}/{version.number}")
