"""What an inference worker does before anything else: it commits what the one before it could not."""

import time
from collections.abc import Sequence
from pathlib import Path

import structlog
from redis import Redis
from sqlalchemy import Engine as Database
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from store.database import HeldConnection, is_outage
from store.ledger_rows import Outcome
from tasks.outcomes import store_outcomes
from tasks.spool import take_up

log = structlog.get_logger()

#: Leases are not looked at for the first seconds after Postgres is back; results must be there before.
ASK_EVERY_S = 0.25


def spool_folder(var_dir: Path) -> Path:
    """Where the workers of a machine keep results while Postgres is away."""
    return var_dir / "spool"


def succeed(database: Database, replies: Redis, folder: Path) -> int:
    """Wait for Postgres and commit what dead processes left, before torch is loaded: fences hold for seconds only.

    Returns:
        How many results were stored.
    """
    held = HeldConnection(database)

    def commit(outcomes: Sequence[Outcome]) -> int:
        try:
            return store_outcomes(held, replies, outcomes)
        except DBAPIError as error:
            if is_outage(error):
                raise
            # What Postgres refuses it refuses for ever; the rows are taken back and computed again.
            log.exception("results_refused", count=len(outcomes))
            return 0

    try:
        while True:
            try:
                with held.use() as connection:
                    connection.exec_driver_sql("SELECT 1")
                return take_up(folder, commit)
            except (DBAPIError, PoolTimeoutError) as error:
                log.warning("waiting_for_postgres", error=str(error))
                time.sleep(ASK_EVERY_S)
    finally:
        held.close()
