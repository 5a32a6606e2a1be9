"""Outcomes into the ledger, and word to those who wait. Loads no torch: a successor stores before it has a device."""

from collections.abc import Sequence

import redis
import structlog

from store import ledger
from store.database import HeldConnection
from store.failpoints import hit, hit_when_sent
from store.ledger_rows import Outcome
from store.replies import publish

log = structlog.get_logger()


def store_outcomes(held: HeldConnection, replies: redis.Redis, outcomes: Sequence[Outcome]) -> int:
    """Commit outcomes whose fences hold and tell who waits; returns how many there were.

    Raises:
        DBAPIError: Postgres is away, or refuses them.
    """
    with held.use() as connection:
        hit("worker.before_commit")
        hit_when_sent("worker.commit_sent")
        finished = ledger.complete(connection, outcomes)
    hit("worker.after_commit")
    if len(finished) < len(outcomes):
        log.info("results_fenced", count=len(outcomes) - len(finished))
    publish(replies, finished)
    return len(finished)
