"""Which inference workers are alive, refreshed in the background so that no request asks Postgres for it."""

import threading
import time
from collections.abc import Sequence

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

#: Where no worker lives, one that was killed is back by then: so long requests wait for it, then they are refused.
ABSENCE_S = 30.0


class WorkerDirectory:
    """Tells the balancer which inference workers live, what they hold and how fast they are.

    Args:
        database: Where workers renew their leases.
        balancer: Told at each look.
    """

    def __init__(self, database: Database, balancer: Balancer) -> None:
        self._database = database
        self._balancer = balancer
        #: Those that live, replaced as a whole at each look.
        self.views: Sequence[WorkerView] = ()
        self._seen_at = time.monotonic()
        self._unloadable: frozenset[str] = frozenset()
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

    def can_serve(self, version: str) -> bool:
        """Whether any worker that lives, or that died just now, could ever answer with a version, as `model/number`."""
        if self.views:
            return version not in self._unloadable
        return time.monotonic() - self._seen_at < ABSENCE_S

    def _run(self) -> None:
        while not self._stop.wait(REFRESH_S):
            self._refresh()

    def _refresh(self) -> None:
        try:
            with open_session(self._database) as session:
                workers = serving_workers(session, WorkerRole.INFERENCE)
        except SQLAlchemyError as error:
            # The last list stays; ringing a dead worker costs a message and nothing else.
            log.warning("workers_unread", error=str(error))
            return
        views = [_view(worker) for worker in workers]
        now = time.monotonic()
        if views:
            self._seen_at = now
        self._unloadable = _failed_everywhere(workers)
        self.views = views
        self._balancer.update(views, now)


def _failed_everywhere(workers: Sequence[Worker]) -> frozenset[str]:
    """Name the versions that every worker tried to load in vain; one that is still loading may be in time."""
    failed = [{version for version, why in worker.load_failures.items() if why is not None} for worker in workers]
    return frozenset(set.intersection(*failed)) if failed else frozenset()


def _view(worker: Worker) -> WorkerView:
    return WorkerView(
        worker_id=worker.id, queue=worker.queue, held=frozenset(worker.models), rates=load_rates(worker.rates)
    )
