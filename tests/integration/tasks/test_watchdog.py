"""`tasks.watchdog`: a process that does nothing any more ends, and no other does."""

import pytest
from sqlalchemy import Engine as Database

from schemas.enums import StopReason
from tasks.life import WorkerLife
from tasks.progress import Progress
from tasks.watchdog import EXIT_STUCK, EXIT_UNUSABLE, HUNG_CHECKS, IDLE_CHECKS, Watchdog
from tests.factories import Rows


class Quits:
    """Stands for a life whose end is only noted."""

    def __init__(self, life: WorkerLife, silent_s: float = 0.0) -> None:
        self.ended: list[tuple[StopReason, int]] = []
        self.is_valid = life.is_valid
        self._silent_s = silent_s

    def silent_s(self) -> float:
        return self._silent_s

    def quit(self, reason: StopReason, status: int, *, within_s: float) -> None:  # noqa: ARG002 - as the real one
        self.ended.append((reason, status))


@pytest.fixture
def progress() -> Progress:
    return Progress()


def watch(database: Database, life: Quits, progress: Progress, checks: int) -> list[tuple[StopReason, int]]:
    """Look so many times, and return how the process ended."""
    watchdog = Watchdog(database, life, progress)  # type: ignore[arg-type]  # It needs no more of a life.
    for _ in range(checks):
        watchdog.check()
        if life.ended:
            break
    return life.ended


def wait_long(rows: Rows) -> None:
    """Let a row wait for longer than any loop may sleep."""
    rows.shift(rows.add(), "run_after", -60)


def test_an_idle_loop_beside_rows_that_wait_ends_the_process(
    database: Database, life: WorkerLife, committed: Rows, progress: Progress
) -> None:
    wait_long(committed)

    assert watch(database, Quits(life), progress, IDLE_CHECKS + 2) == [(StopReason.STUCK, EXIT_STUCK)]


def test_an_idle_loop_is_given_its_time(
    database: Database, life: WorkerLife, committed: Rows, progress: Progress
) -> None:
    wait_long(committed)

    assert watch(database, Quits(life), progress, IDLE_CHECKS) == []


def test_an_idle_loop_without_rows_goes_on(database: Database, life: WorkerLife, progress: Progress) -> None:
    assert watch(database, Quits(life), progress, 3 * IDLE_CHECKS) == []


def test_a_loop_that_looks_now_and_then_goes_on(
    database: Database, life: WorkerLife, committed: Rows, progress: Progress
) -> None:
    wait_long(committed)
    quits = Quits(life)
    watchdog = Watchdog(database, quits, progress)  # type: ignore[arg-type]  # It needs no more of a life.

    for check in range(3 * IDLE_CHECKS):
        if check % 5 == 0:
            progress.note_look()
        watchdog.check()

    assert quits.ended == []


def test_a_device_that_hangs_beyond_its_lease_ends_the_process(
    database: Database, life: WorkerLife, progress: Progress
) -> None:
    with progress.at_work("device", 0.0):
        ended = watch(database, Quits(life, silent_s=9.0), progress, HUNG_CHECKS)

    assert ended == [(StopReason.HUNG, EXIT_UNUSABLE)]


def test_a_device_that_hangs_within_its_lease_is_waited_for(
    database: Database, life: WorkerLife, progress: Progress
) -> None:
    with progress.at_work("device", 0.0):
        assert watch(database, Quits(life, silent_s=5.0), progress, 3 * HUNG_CHECKS) == []


def test_a_process_that_was_stopped_and_goes_on_has_not_hung(
    database: Database, life: WorkerLife, progress: Progress
) -> None:
    with progress.at_work("device", 0.0):
        assert watch(database, Quits(life, silent_s=60.0), progress, 1) == []
