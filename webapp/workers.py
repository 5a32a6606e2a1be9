"""Which inference workers are alive, refreshed in the background so that no request asks Postgres for it."""

import threading
from collections.abc import Sequence

import structlog
from sqlalchemy import Engine as Database
from sqlalchemy.exc import SQLAlchemyError

from schemas.enums import WorkerRole
from store.database import open_session
from store.workers import live_workers

log = structlog.get_logger()

#: A dead worker is rung for at most so long.
REFRESH_S = 1.0


class WorkerDirectory:
    """The queues of live inference workers.

    Args:
        database: Where workers renew their leases.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._queues: Sequence[str] = ()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="directory", daemon=True)

    def start(self) -> None:
        """Read once, then keep reading."""
        self._refresh()
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stop.set()
        self._thread.join()

    def queues(self) -> Sequence[str]:
        """The queues of the workers that were alive at the last look."""
        return self._queues

    def _run(self) -> None:
        while not self._stop.wait(REFRESH_S):
            self._refresh()

    def _refresh(self) -> None:
        try:
            with open_session(self._database) as session:
                self._queues = [w.queue for w in live_workers(session) if w.role == WorkerRole.INFERENCE]
        except SQLAlchemyError as error:
            # The last list stays; ringing a dead worker costs a message and nothing else.
            log.warning("workers_unread", error=str(error))
