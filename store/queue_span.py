"""Between which ids rows can wait, so that a claim need not look into the partitions of all the weeks that are kept."""

import time
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import Connection

from store import ledger_claim_sql as sql
from store.partitions import CLOCK_SLACK, least_id

#: How long a connection goes by what it has read. A row from before the span is claimed at most so much later.
REFRESH_S = 10.0

#: More than any row is put back behind its acceptance, see `PRIORITY_DELAY_S` and `MOST_LAG_S` of `store.ledger_rows`.
GREATEST_DELAY = timedelta(hours=1)

INFO_KEY = "torchqueue_queue_span"


def queue_span(connection: Connection) -> tuple[UUID, UUID]:
    """Return ids around all that wait: from the oldest row of the queue, or a week ago, to a week ahead.

    What has been read is noted on the DBAPI connection.
    """
    known: tuple[float, UUID, UUID] | None = connection.info.get(INFO_KEY)
    if known is None or time.monotonic() - known[0] > REFRESH_S:
        row = sql.FIRST_IN_QUEUE.run(connection).one()
        known = (time.monotonic(), *span_around(row.now, row.least))
        connection.info[INFO_KEY] = known
    return known[1], known[2]


def span_around(now: datetime, least_claim_order: datetime | None) -> tuple[UUID, UUID]:
    """Return the span for a queue whose first row has this claim order; None for an empty queue."""
    oldest = now if least_claim_order is None else min(now, least_claim_order - GREATEST_DELAY)
    return least_id(oldest - CLOCK_SLACK), least_id(now + CLOCK_SLACK)
