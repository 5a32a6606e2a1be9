"""Group completion: the outcomes of a batch in one statement, then word to those who wait."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

import redis
import structlog
from sqlalchemy import Engine as Database
from sqlalchemy.exc import DBAPIError, OperationalError

from store import ledger
from store.database import HeldConnection
from store.errors import ObjectsUnavailableError
from store.failpoints import hit, hit_when_sent
from store.ledger_rows import Finished, Outcome
from store.replies import publish
from tasks.finishing import Finishers

log = structlog.get_logger()

# Postgres is asked again after so long while it is away and results wait in memory.
RETRY_S = 0.5

Value = TypeVar("Value")


class Completion:
    """Stores outcomes. Used by one thread at a time.

    Args:
        database: Durable: what it commits is told to clients.
        replies: Where finished predictions are published.
        finishers: What kinds do with results before they are stored.
    """

    def __init__(self, database: Database, replies: redis.Redis, finishers: Finishers) -> None:
        self._connection = HeldConnection(database)
        self._replies = replies
        self._finishers = finishers

    def finish_batch(self, kind: str, outcomes: Sequence[Outcome]) -> None:
        """Let a kind finish its results, then commit them."""
        self.finish(_until_back(lambda: self._finish_results(kind, outcomes), len(outcomes)))

    def finish(self, outcomes: Sequence[Outcome]) -> None:
        """Commit outcomes and tell who waits. While Postgres is away they wait here: the fence keeps a late one out."""
        finished = _until_back(lambda: self._commit(outcomes), len(outcomes))
        hit("worker.after_commit")
        if len(finished) < len(outcomes):
            log.info("results_fenced", count=len(outcomes) - len(finished))
        publish(self._replies, finished)

    def close(self) -> None:
        """Give the connection back."""
        self._connection.close()

    def _finish_results(self, kind: str, outcomes: Sequence[Outcome]) -> list[Outcome]:
        answered = [(outcome.claim, outcome.result) for outcome in outcomes if outcome.result is not None]
        results = self._finishers.finish(kind, [claim for claim, _ in answered], [result for _, result in answered])
        by_id = {claim.id: result for (claim, _), result in zip(answered, results, strict=True)}
        return [replace(outcome, result=by_id.get(outcome.claim.id)) for outcome in outcomes]

    def _commit(self, outcomes: Sequence[Outcome]) -> list[Finished]:
        with self._connection.use() as connection:
            hit("worker.before_commit")
            hit_when_sent("worker.commit_sent")
            return ledger.complete(connection, outcomes)


def _until_back(write: Callable[[], Value], count: int) -> Value:
    """Try again until Postgres and the object store are there."""
    while True:
        try:
            return write()
        except DBAPIError as error:
            if not is_outage(error):
                raise
            reason: object = error.orig
        except ObjectsUnavailableError as error:
            reason = error
        log.warning("completion_delayed", count=count, error=str(reason))
        time.sleep(RETRY_S)


def is_outage(error: DBAPIError) -> bool:
    """Whether Postgres is away, rather than the statement wrong."""
    return error.connection_invalidated or isinstance(error, OperationalError)
