"""Group completion: the outcomes of a batch in one statement, then word to those who wait."""

import time
from collections.abc import Sequence

import redis
import structlog
from sqlalchemy import Engine as Database
from sqlalchemy.exc import DBAPIError, OperationalError

from store import ledger
from store.database import HeldConnection
from store.ledger import Outcome
from store.replies import publish

log = structlog.get_logger()

# Postgres is asked again after so long while it is away and results wait in memory.
RETRY_S = 0.5


class Completion:
    """Stores outcomes. Used by one thread at a time.

    Args:
        database: Durable: what it commits is told to clients.
        replies: Where finished predictions are published.
    """

    def __init__(self, database: Database, replies: redis.Redis) -> None:
        self._connection = HeldConnection(database)
        self._replies = replies

    def finish(self, outcomes: Sequence[Outcome]) -> None:
        """Commit outcomes and tell who waits. While Postgres is away they wait here: the fence keeps a late one out."""
        while True:
            try:
                with self._connection.use() as connection:
                    finished = ledger.complete(connection, outcomes)
                break
            except DBAPIError as error:
                if not is_outage(error):
                    raise
                log.warning("completion_delayed", count=len(outcomes), error=str(error.orig))
                time.sleep(RETRY_S)
        if len(finished) < len(outcomes):
            log.info("results_fenced", count=len(outcomes) - len(finished))
        publish(self._replies, finished)


def is_outage(error: DBAPIError) -> bool:
    """Whether Postgres is away, rather than the statement wrong."""
    return error.connection_invalidated or isinstance(error, OperationalError)
