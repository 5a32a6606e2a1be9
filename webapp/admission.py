"""Which predictions are accepted: those that there is room for, and whose turn comes in time.

Every rule looks at the memory of this process alone, so that refusing costs next to nothing when there is most of it.
See docs/decisions/0011-admission.md.
"""

import random

from schemas.enums import Priority
from store.keys import Principal
from store.models import ServedVersion
from store.settings import Settings
from webapp.errors import (
    DeadlineUnreachableError,
    KeyQueueFullError,
    NoWorkerError,
    OverloadedError,
    QueueFullError,
    RefusedError,
)
from webapp.forecast import RANKS, Place
from webapp.pressure import Pressure
from webapp.workers import WorkerDirectory

#: Share of the room that is for interactive predictions alone.
INTERACTIVE_RESERVE = 0.2

#: Those who are refused together should not all come back together: up to so much later than they could.
JITTER = 0.2

#: A worker that was started now is there after about so long.
WORKER_START_S = 10.0

MS = 1000.0


class Admission:
    """Lets predictions in, or tells when to come back.

    Args:
        settings: How much room there is.
        pressure: Tells what waits.
        directory: Tells who answers.
        rng: Spreads out those who come back; seeded by tests.
    """

    def __init__(
        self, settings: Settings, pressure: Pressure, directory: WorkerDirectory, rng: random.Random | None = None
    ) -> None:
        self._settings = settings
        self._pressure = pressure
        self._directory = directory
        self._rng = rng or random.Random()  # noqa: S311 - nothing secret

    def check(self, caller: Principal, version: ServedVersion, *, priority: Priority, deadline_ms: int | None) -> None:
        """Let a prediction be queued. Changes nothing, so that it may be asked early and again.

        Raises:
            NoWorkerError: Nobody could ever answer it.
            QueueFullError, KeyQueueFullError: There is no room.
            OverloadedError: It would wait longer than its model lets one wait.
            DeadlineUnreachableError: It could not be finished before its deadline.
        """
        name = f"{version.model}/{version.number}"
        if not self._directory.can_serve(name):
            raise self._refusal(
                NoWorkerError,
                f"no worker lives that could answer with version {version.number} of {version.model!r}; start one, "
                "GET /v1/workers lists them",
                WORKER_START_S,
            )
        place = Place(caller.api_key_id, RANKS[priority], name)
        self._check_key(caller, place)
        self._check_room(place, priority)
        wait_s = self._pressure.wait_s(place)
        if wait_s is None:
            return
        if deadline_ms is not None:
            self._check_deadline(version, wait_s + self._pressure.one_s(name), deadline_ms)
        most_ms = version.settings.max_wait_ms
        if most_ms is not None and priority is not Priority.BULK and wait_s * MS > most_ms:
            raise self._refusal(
                OverloadedError,
                f"a prediction of {version.model!r} would wait {wait_s:.1f} s for its turn, and its model lets one "
                f"wait {most_ms / MS:g} s; come back later, or send it with priority=bulk",
                wait_s - most_ms / MS,
            )

    def _check_key(self, caller: Principal, place: Place) -> None:
        limits = caller.limits
        most = (
            self._settings.max_queued_per_tenant if limits is None or limits.max_queued is None else limits.max_queued
        )
        waiting = self._pressure.key_rows(caller.api_key_id)
        if waiting >= most:
            raise self._refusal(
                KeyQueueFullError,
                f"{waiting} predictions of this key wait, and {most} may; come back when some are finished",
                self._pressure.work_s(place.version, waiting - most + 1),
            )

    def _check_room(self, place: Place, priority: Priority) -> None:
        room = self._settings.max_queued
        if priority is not Priority.INTERACTIVE:
            room = int(room * (1.0 - INTERACTIVE_RESERVE))
        waiting = self._pressure.rows()
        if waiting >= room:
            raise self._refusal(
                QueueFullError,
                f"{waiting} predictions wait, and there is room for {room} of this priority; come back later",
                self._pressure.work_s(place.version, waiting - room + 1),
            )

    def _check_deadline(self, version: ServedVersion, rest_s: float, deadline_ms: int) -> None:
        late_s = rest_s - deadline_ms / MS
        if late_s > 0.0:
            raise self._refusal(
                DeadlineUnreachableError,
                f"a prediction of {version.model!r} would be finished in {rest_s:.1f} s, after its deadline_ms of "
                f"{deadline_ms}; come back later, or give it more time",
                late_s,
            )

    def _refusal(self, kind: type[RefusedError], detail: str, retry_after_s: float) -> RefusedError:
        return kind(detail, retry_after_s=retry_after_s * self._rng.uniform(1.0, 1.0 + JITTER))
