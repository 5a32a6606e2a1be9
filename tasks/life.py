"""One worker process's life as Postgres sees it: registered, renewed every two seconds, ended."""

import os
import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from queue import Empty, SimpleQueue

import structlog
from sqlalchemy import Engine as Database
from sqlalchemy.exc import SQLAlchemyError

from schemas.enums import StopReason, WorkerRole, WorkerState
from store import ledger
from store.rates import Rates
from store.workers import HEARTBEAT_S, end_worker, register_worker, renew_lease

log = structlog.get_logger()

# Without a renewal for so long we stop launching work: in two seconds more somebody else may own our rows.
SELF_FENCE_S = 6.0

#: After a renewal that failed, the next is tried so soon: those who reap wait for us, but not for long.
RETRY_S = 0.5


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
        is_moving: Whether the device comes forward. While it does not, the lease is not renewed, so that others get
            what it holds.
        settle: Called before a new life begins because the old one could not be renewed in time: it stores what is
            finished, and may raise SQLAlchemyError to put the new life off. None: the old life goes on, unless somebody
            ended it.
        state: What the worker is willing to do from the beginning.
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
        is_moving: Callable[[], bool] = lambda: True,
        settle: Callable[[], None] | None = None,
        state: WorkerState = WorkerState.SERVING,
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
        self._is_moving = is_moving
        self._settle = settle
        self._state = state
        # Wakes the heartbeat. Unlike an event's lock, a signal handler may enter it while it is held.
        self._calls: SimpleQueue[None] = SimpleQueue()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)
        # The heartbeat is not the only one that renews, and a lost lease must end in one new life, not in two.
        self._renewing = threading.Lock()
        self._worker_id = 0
        self._renewed_at = 0.0
        self._doubted = False

    @property
    def worker_id(self) -> int:
        """The epoch that claims carry."""
        return self._worker_id

    def is_valid(self) -> bool:
        """Whether the lease was renewed recently enough to launch work."""
        return not self._doubted and self.silent_s() < SELF_FENCE_S

    def silent_s(self) -> float:
        """Seconds since the last renewal that succeeded."""
        return time.monotonic() - self._renewed_at

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

    def doubt(self) -> None:
        """Launch nothing more under this life, and begin a new one as soon as Postgres is there."""
        # Not by the time of the last renewal: one that is under way just now would set it again.
        self._doubted = True
        self._calls.put(None)

    def say_draining(self) -> None:
        """Tell everybody at once that no more work is taken up. May be called by a signal handler."""
        self._state = WorkerState.DRAINING
        self._calls.put(None)

    def end(self, reason: StopReason = StopReason.DRAINED) -> None:
        """Stop renewing and end the life; what it still holds is given back with its attempt."""
        self._stopping = True
        self._calls.put(None)
        if self._thread.ident is None:
            # Stopped before it was ready: there is no row to end.
            return
        self._thread.join()
        try:
            self._end(reason)
        except SQLAlchemyError as error:
            # Postgres is away: the lease runs out by itself.
            log.warning("life_not_ended", worker_id=self._worker_id, error=str(error))

    def quit(self, reason: StopReason, status: int, *, within_s: float) -> None:
        """End the life and the process at once, whatever else runs in it.

        Args:
            reason: Written into the row.
            status: Of the process.
            within_s: Postgres gets no longer than this; without it, the lease runs out by itself.
        """
        # A heartbeat that comes between the end of this life and that of the process begins no other.
        self._stopping = True
        ending = threading.Thread(target=self._try_to_end, args=[reason], name="quit", daemon=True)
        ending.start()
        ending.join(within_s)
        log.critical("worker_quits", worker_id=self._worker_id, reason=str(reason), status=status)
        os._exit(status)

    def _register(self) -> None:
        with self._database.begin() as connection:
            worker_id = register_worker(
                connection,
                name=self._name,
                role=self._role,
                device=self._device,
                queue=self._queue,
                host=socket.gethostname(),
                pid=os.getpid(),
            )
            renew_lease(connection, worker_id, self._held(), self._rates(), self._load_failures(), state=self._state)
        self._worker_id = worker_id
        self._renewed_at = time.monotonic()
        self._doubted = False
        log.info("worker_registered", worker_id=self._worker_id, device=self._device)

    def _run(self) -> None:
        pause_s = HEARTBEAT_S
        while True:
            with suppress(Empty):
                self._calls.get(timeout=pause_s)
            if self._stopping:
                return
            pause_s = self._beat()

    def _beat(self) -> float:
        """Renew once. Returns the pause until the next time, in seconds."""
        try:
            self.tell()
            self._on_beat()
        except SQLAlchemyError as error:
            # Postgres is away; the next beat tries again, and `is_valid` stops new work meanwhile.
            log.warning("heartbeat_failed", error=str(error))
            return RETRY_S
        return HEARTBEAT_S

    def _renew(self) -> None:
        if not self._is_moving():
            log.warning("lease_not_renewed", worker_id=self._worker_id, silent_s=round(self.silent_s(), 1))
            return
        if self._settle is not None and not self.is_valid():
            self._begin_anew(self._settle)
            return
        asked_at = time.monotonic()
        with self._database.begin() as connection:
            renewed = renew_lease(
                connection, self._worker_id, self._held(), self._rates(), self._load_failures(), state=self._state
            )
        if renewed:
            self._renewed_at = asked_at
            if self._settle is None:
                self._doubted = False
            return
        self._register_again("lease_lost")

    def _begin_anew(self, settle: Callable[[], None]) -> None:
        """Begin a new life after a silence in which the old one may have been given up by others."""
        # First, while the fences of what is finished may still hold: what the old life then holds is given back.
        settle()
        self._end(StopReason.SELF_FENCED)
        self._register_again("self_fenced")

    def _register_again(self, event: str) -> None:
        if self._stopping:
            # We ended it ourselves just now.
            return
        log.warning(event, worker_id=self._worker_id, silent_s=round(self.silent_s(), 1))
        self._register()

    def _end(self, reason: StopReason) -> None:
        with self._database.begin() as connection:
            given_back = ledger.end_life(connection, self._worker_id, reason)
        if given_back:
            log.info("claims_given_back", worker_id=self._worker_id, count=given_back)

    def _try_to_end(self, reason: StopReason) -> None:
        try:
            if reason is StopReason.HUNG:
                # What it held may be what it hangs on: each of those rows runs alone from now on.
                with self._database.begin() as connection:
                    end_worker(connection, self._worker_id, reason)
            else:
                self._end(reason)
        except SQLAlchemyError as error:
            log.warning("life_not_ended", worker_id=self._worker_id, error=str(error))
