"""Whether Postgres answers: asked by one thread, so that no request finds out by waiting for it."""

import threading
import time

import structlog
from sqlalchemy import Engine as Database
from sqlalchemy.exc import SQLAlchemyError

from store.database import HeldConnection
from webapp.errors import DatabaseAwayError

log = structlog.get_logger()

#: Between two questions; a Postgres that came back is used again after so long.
ASK_EVERY_S = 0.2

#: A question that takes longer than this means that Postgres hangs: stopped, or behind a network that drops packets.
HANGS_AFTER_S = 1.0


class DatabaseWatch:
    """A breaker around Postgres: open while a question failed or hangs, and closed by the first that is answered.

    A request that comes meanwhile is refused at once; else each would hold a thread and a connection until its own
    time limit, and those that need neither would wait behind them.

    Args:
        database: Asked over a connection that this keeps.
    """

    def __init__(self, database: Database) -> None:
        self._connection = HeldConnection(database)
        self._failed = False
        self._asked_at: float | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="database-watch", daemon=True)

    def start(self) -> None:
        """Ask once, then keep asking."""
        self._ask()
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()
        self._connection.close()

    def is_open(self) -> bool:
        """Whether requests are to be refused."""
        asked_at = self._asked_at
        return self._failed or (asked_at is not None and time.monotonic() - asked_at > HANGS_AFTER_S)

    def check(self) -> None:
        """Let a request go on.

        Raises:
            DatabaseAwayError: Postgres does not answer.
        """
        if self.is_open():
            raise DatabaseAwayError("the database is away; nothing was accepted, try again")

    def _run(self) -> None:
        while not self._stop.wait(ASK_EVERY_S):
            self._ask()

    def _ask(self) -> None:
        self._asked_at = time.monotonic()
        try:
            with self._connection.use() as connection:
                connection.exec_driver_sql("SELECT 1")
        except SQLAlchemyError as error:
            if not self._failed:
                log.warning("database_away", error=str(error))
            self._failed = True
        else:
            if self._failed:
                log.info("database_back")
            self._failed = False
        finally:
            self._asked_at = None
