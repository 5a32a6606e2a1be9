"""Ends the process when its loop does nothing any more: the supervisor, or the container's, starts another."""

import threading

import structlog
from sqlalchemy import Engine as Database
from sqlalchemy.exc import SQLAlchemyError

from schemas.enums import StopReason
from store import ledger
from store.workers import LEASE_S
from tasks.life import WorkerLife
from tasks.progress import LEAST_BUDGET_S, Progress

log = structlog.get_logger()

#: The process cannot go on: its device is lost or hangs, or it has no memory (EX_SOFTWARE of sysexits.h).
EXIT_UNUSABLE = 70

#: The loop looks for no work although there is some (EX_TEMPFAIL).
EXIT_STUCK = 75

#: A loop that has not looked for work for so long, where some waits, is stuck: the safety poll looks twice as often.
IDLE_LIMIT_S = 10.0

CHECK_EVERY_S = 1.0
IDLE_CHECKS = round(IDLE_LIMIT_S / CHECK_EVERY_S)
HUNG_CHECKS = round((LEASE_S - LEAST_BUDGET_S) / CHECK_EVERY_S)

#: What Postgres may take to hear of the end; after one second in all, nobody may count on this worker any more.
QUIT_WITHIN_S = 0.6


class Watchdog:
    """A thread that compares what the loop does with what waits.

    Args:
        database: Where rows wait.
        life: Ended with its reason before the process ends.
        progress: Of the loop.
    """

    def __init__(self, database: Database, life: WorkerLife, progress: Progress) -> None:
        self._database = database
        self._life = life
        self._progress = progress
        self._hung_checks = 0
        self._idle_checks = 0
        self._looks = -1
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def stop(self) -> None:
        """Watch no more: whoever drains is not idle by mistake."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()

    def check(self) -> None:
        """Look once, and end the process where it is of no use any more.

        Looks are counted rather than seconds: a process that was stopped and goes on has not hung, however long it was.
        """
        self._hung_checks = 0 if self._progress.is_moving() else self._hung_checks + 1
        looks, before = self._progress.looks, self._looks
        self._idle_checks = self._idle_checks + 1 if self._progress.is_idle() and looks == before else 0
        self._looks = looks
        # The lease was not renewed since; once it is over, others have the rows, and this process is in their way.
        if self._hung_checks >= HUNG_CHECKS and self._life.silent_s() >= LEASE_S:
            self._life.quit(StopReason.HUNG, EXIT_UNUSABLE, within_s=QUIT_WITHIN_S)
        if self._idle_checks > IDLE_CHECKS and self._life.is_valid() and self._something_waits():
            self._life.quit(StopReason.STUCK, EXIT_STUCK, within_s=QUIT_WITHIN_S)

    def _run(self) -> None:
        while not self._stop.wait(CHECK_EVERY_S):
            self.check()

    def _something_waits(self) -> bool:
        try:
            with self._database.connect() as connection:
                return bool(ledger.stranded(connection, older_than_s=IDLE_LIMIT_S))
        except SQLAlchemyError as error:
            # Postgres is away: the loop waits for it, as it should.
            log.warning("watchdog_blind", error=str(error))
            return False
