"""Limits of memory that the kernel keeps by killing."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count as counting
from pathlib import Path

from tests.faults.arena import Arena
from tests.faults.family import Relative
from tests.faults.injectors.done import DEATH_TIMEOUT_S, WAVE, Done, await_ready, killed
from tests.running import wait_until

ROOT = Path("/sys/fs/cgroup")

#: Of the kernel's memory controller, by its version: where it is, and the file of a group that takes its limit.
LIMITS = {ROOT / "memory": "memory.limit_in_bytes", ROOT: "memory.max"}

HOLDERS = """
    SELECT DISTINCT w.pid FROM predictions p JOIN workers w ON w.id = p.worker_id
    WHERE p.status = 'processing' AND w.pid = ANY(%(pids)s)
"""

_numbers = counting(1)


def _find_controller() -> Path | None:
    """Where groups whose memory is limited can be made; None where they cannot."""
    old, unified = LIMITS
    if (old / LIMITS[old]).exists():
        return old if os.access(old, os.W_OK) else None
    passed_on = unified / "cgroup.subtree_control"
    able = passed_on.exists() and "memory" in passed_on.read_text().split() and os.access(unified, os.W_OK)
    return unified if able else None


#: Rows that need it are not run where it is missing.
CONTROLLER = _find_controller()


def starve_workers(arena: Arena, _state: str, count: int) -> Done:
    """Let the kernel kill workers that hold rows, whose memory it has been told to limit."""
    done = Done()
    while count > done.faults:
        armed = "worker.on_device:sleep:1"
        victims = [arena.family.worker(armed) for _ in range(min(WAVE, count - done.faults))]
        await_ready(arena, victims)
        with memory_limit() as limit:
            for victim in _ring_until_held(arena, victims):
                limit(victim.pid)
            done.add_deaths(killed(arena.ring_until_dead(victims, DEATH_TIMEOUT_S)))
            arena.family.bury(victims)
    return done


def _ring_until_held(arena: Arena, victims: Sequence[Relative]) -> Iterator[Relative]:
    """Ring workers, and yield each as soon as it holds rows."""
    waiting = {victim.pid: victim for victim in victims}
    until = time.monotonic() + DEATH_TIMEOUT_S
    while waiting and time.monotonic() < until:
        arena.ring(list(waiting.values()))
        with arena.database.connect() as connection:
            for pid in connection.exec_driver_sql(HOLDERS, {"pids": list(waiting)}).scalars().all():
                yield waiting.pop(pid)
        time.sleep(0.01)


@contextmanager
def memory_limit() -> Iterator[Callable[[int], None]]:
    """Make a group of processes that may touch no further page; yields what puts a process into it.

    What a process holds already stays where it was counted, so it is killed for the next that it needs.
    """
    assert CONTROLLER is not None, "rows that need it are left out"
    group = CONTROLLER / f"faults-{os.getpid()}-{next(_numbers)}"
    group.mkdir()
    (group / LIMITS[CONTROLLER]).write_text("0")
    try:
        yield lambda pid: _put_into(group, pid)
    finally:
        # What was killed is counted there for a moment still.
        wait_until(lambda: _is_removed(group), DEATH_TIMEOUT_S)


def _put_into(group: Path, pid: int) -> None:
    (group / "cgroup.procs").write_text(str(pid))


def _is_removed(group: Path) -> bool:
    try:
        group.rmdir()
    except OSError:
        return False
    return True
