"""Which inference workers are alive, refreshed in the background so that no request asks Postgres for it."""

import threading
import time

import structlog
from sqlalchemy import Engine as Database
from sqlalchemy.exc import SQLAlchemyError

from schemas.enums import WorkerRole
from store.database import open_session
from store.rates import load_rates
from store.tables.worker import Worker
from store.workers import serving_workers
from webapp.balancer import Balancer, WorkerView

log = structlog.get_logger()

#: A dead worker is rung for at most so long.
REFRESH_S = 1.0


class WorkerDirectory:
    """Tells the balancer which inference workers live, what they hold and how fast they are.

    Args:
        database: Where workers renew their leases.
        balancer: Told at each look.
    """

    def __init__(self, database: Database, balancer: Balancer) -> None:
        self._database = database
        self._balancer = balancer
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

    def _run(self) -> None:
        while not self._stop.wait(REFRESH_S):
            self._refresh()

    def _refresh(self) -> None:
        try:
            with open_session(self._database) as session:
                views = [_view(worker) for worker in serving_workers(session, WorkerRole.INFERENCE)]
        except SQLAlchemyError as error:
            # The last list stays; ringing a dead worker costs a message and nothing else.
            log.warning("workers_unread", error=str(error))
            return
        self._balancer.update(views, time.monotonic())


def _view(worker: Worker) -> WorkerView:
    return WorkerView(
        worker_id=worker.id, queue=worker.queue, held=frozenset(worker.models), rates=load_rates(worker.rates)
    )
