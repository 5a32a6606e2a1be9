"""One worker process's life as Postgres sees it: registered, renewed every two seconds, ended."""

import os
import socket
import threading
import time
from collections.abc import Callable, Mapping

import structlog
from sqlalchemy import Engine as Database
from sqlalchemy.exc import SQLAlchemyError

from schemas.enums import WorkerRole
from store.rates import Rates
from store.workers import HEARTBEAT_S, end_worker, register_worker, renew_lease

log = structlog.get_logger()

# Without a renewal for so long we stop launching work: in two seconds more somebody else may own our rows.
SELF_FENCE_S = 6.0


class WorkerLife:
    """Holds the lease of this process in a thread of its own, since the engine may be busy for long.

    Args:
        database: For heartbeats; need not be durable.
        name: Celery node name.
        role: What the worker consumes.
        device: `cuda:N` or `cpu:N`.
        queue: The queue that only this worker consumes.
        held: Tells which models are loaded.
        rates: Tells what they cost here.
        load_failures: Tells why others could not be loaded; None while one is being loaded.
        on_beat: Called after every successful renewal; must not raise.
    """

    def __init__(
        self,
        database: Database,
        *,
        name: str,
        role: WorkerRole,
        device: str,
        queue: str,
        held: Callable[[], list[str]],
        rates: Callable[[], Rates] = dict,
        load_failures: Callable[[], Mapping[str, str | None]] = dict,
        on_beat: Callable[[], None] = lambda: None,
    ) -> None:
        self._database = database
        self._name = name
        self._role = role
        self._device = device
        self._queue = queue
        self._held = held
        self._rates = rates
        self._load_failures = load_failures
        self._on_beat = on_beat
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)
        # The heartbeat is not the only one that renews, and a lost lease must end in one new life, not in two.
        self._renewing = threading.Lock()
        self._worker_id = 0
        self._renewed_at = 0.0

    @property
    def worker_id(self) -> int:
        """The epoch that claims carry."""
        return self._worker_id

    def is_valid(self) -> bool:
        """Whether the lease was renewed recently enough to launch work."""
        return time.monotonic() - self._renewed_at < SELF_FENCE_S

    def begin(self) -> None:
        """Register and start renewing."""
        self._register()
        self._thread.start()

    def tell(self) -> None:
        """Renew now, and so tell what is held.

        Raises:
            SQLAlchemyError: Postgres is away.
        """
        with self._renewing:
            self._renew()

    def end(self, reason: str = "drained") -> None:
        """Stop renewing and say that nothing is held any more."""
        self._stop.set()
        if self._thread.ident is None:
            # Stopped before it was ready: there is no row to end.
            return
        self._thread.join()
        with self._database.begin() as connection:
            end_worker(connection, self._worker_id, reason)

    def _register(self) -> None:
        with self._database.begin() as connection:
            self._worker_id = register_worker(
                connection,
                name=self._name,
                role=self._role,
                device=self._device,
                queue=self._queue,
                host=socket.gethostname(),
                pid=os.getpid(),
            )
            renew_lease(connection, self._worker_id, self._held(), self._rates(), self._load_failures())
        self._renewed_at = time.monotonic()
        log.info("worker_registered", worker_id=self._worker_id, device=self._device)

    def _run(self) -> None:
        while not self._stop.wait(HEARTBEAT_S):
            try:
                self.tell()
                self._on_beat()
            except SQLAlchemyError as error:
                # Postgres is away; the next beat tries again, and `is_valid` stops new work meanwhile.
                log.warning("heartbeat_failed", error=str(error))

    def _renew(self) -> None:
        asked_at = time.monotonic()
        with self._database.begin() as connection:
            renewed = renew_lease(connection, self._worker_id, self._held(), self._rates(), self._load_failures())
        if renewed:
            self._renewed_at = asked_at
            return
        log.warning("lease_lost", worker_id=self._worker_id)
        self._register()
