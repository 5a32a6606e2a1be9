"""Results that a dead inference worker left on the disk: its successor commits them before it does anything else."""

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
    while True:
        try:
            return commit_left_behind(database, replies, folder)
        except (DBAPIError, PoolTimeoutError) as error:
            log.warning("waiting_for_postgres", error=str(error))
            time.sleep(ASK_EVERY_S)


def commit_left_behind(database: Database, replies: Redis, folder: Path) -> int:
    """Commit what dead processes left on the disk, where nobody has taken the rows back.

    Returns:
        How many results were stored.

    Raises:
        DBAPIError: Postgres is away; the files stay.
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
        with held.use() as connection:
            connection.exec_driver_sql("SELECT 1")
        return take_up(folder, commit)
    finally:
        held.close()
