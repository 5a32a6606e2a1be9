"""Where rows can wait: what a claim need not look at.

Of the partitions of all the weeks that are kept, rows wait in the youngest. And an index keeps the entries of rows that
have left it until a vacuum: those of the queue stand at its head, where every claim begins, and while a million rows
are worked off there are tens of thousands of them.
"""

import time
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import Connection

from store import ledger_claim_sql as sql
from store.partitions import CLOCK_SLACK, least_id

#: How long a connection goes by what it has read. A row from before the span is claimed at most so much later.
REFRESH_S = 1.0

#: More than any row is put back behind its acceptance, see `PRIORITY_DELAY_S` and `MOST_LAG_S` of `store.ledger_rows`.
GREATEST_DELAY = timedelta(hours=1)

#: A row takes its place in the order when its transaction begins, and can be seen when that ends.
COMMITTING = timedelta(seconds=1)

#: Before all places in the order of claims.
LOWEST = "-infinity"

INFO_KEY = "torchqueue_queue_span"


@dataclass(frozen=True, kw_only=True, slots=True)
class QueueSpan:
    """Between what rows wait.

    Attributes:
        since: Least id.
        until: The id before which all are.
        floor: Place in the order of claims before which none waits, but for rows that were given back since this was
            read; a time as Postgres reads it.
    """

    since: UUID
    until: UUID
    floor: str


def queue_span(connection: Connection) -> QueueSpan:
    """Return what is around all that waits: from the oldest row of the queue, or a week ago, to a week ahead.

    What has been read is noted on the DBAPI connection.
    """
    known: tuple[float, QueueSpan] | None = connection.info.get(INFO_KEY)
    if known is None or time.monotonic() - known[0] > REFRESH_S:
        row = sql.FIRST_IN_QUEUE.run(connection).one()
        known = (time.monotonic(), span_around(row.now, row.least))
        connection.info[INFO_KEY] = known
    return known[1]


def without_floor(connection: Connection, span: QueueSpan) -> QueueSpan:
    """Return the span for a look at all that waits; the connection goes by it until it reads again."""
    read_at, _ = connection.info[INFO_KEY]
    unbounded = replace(span, floor=LOWEST)
    connection.info[INFO_KEY] = (read_at, unbounded)
    return unbounded


def span_around(now: datetime, least_claim_order: datetime | None) -> QueueSpan:
    """Return the span for a queue whose first row has this claim order; None for an empty queue."""
    if least_claim_order is None:
        oldest, floor = now, LOWEST
    else:
        oldest = min(now, least_claim_order - GREATEST_DELAY)
        # A place may be in the future, and rows that are yet to come may take one from now on.
        floor = (min(now, least_claim_order) - COMMITTING).isoformat()
    return QueueSpan(since=least_id(oldest - CLOCK_SLACK), until=least_id(now + CLOCK_SLACK), floor=floor)
