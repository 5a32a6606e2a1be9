"""Processes that stand still for a while and then go on, with what may be theirs no longer."""

import signal
import time
from collections.abc import Sequence

import psutil

from tests.faults.arena import Arena
from tests.faults.family import Relative
from tests.faults.injectors.done import DEATH_TIMEOUT_S, Done

#: Three leases, as a process that hangs and comes back.
ZOMBIE_S = 24.0

#: Less than a lease, so that who slept so long still believes that what it holds is its own.
HANDOVER_S = 6.0


def freeze_workers_at(arena: Arena, state: str, count: int) -> Done:
    """Stop workers at a named state for three leases, then let them go on with what is no longer theirs."""
    done = Done()
    while count > done.faults:
        victims = [arena.family.worker(f"{state}:stop") for _ in range(min(6, count - done.faults))]
        _ring_until_stopped(arena, victims)
        stopped = [victim for victim in victims if _is_stopped(victim)]
        time.sleep(ZOMBIE_S)
        for victim in stopped:
            victim.signal(signal.SIGCONT)
        done.faults += len(stopped)
        done.recoveries.append(arena.probe())
        # They write what they held, find it fenced, and begin a new life.
        time.sleep(1.0)
        arena.family.bury(victims)
    return done


def wake_zombies_at(arena: Arena, state: str, count: int) -> Done:
    """Stop workers at a named state until others hold what they held, and let them go on at that very moment."""
    done = Done()
    while count > done.faults:
        victim, other = arena.family.worker(f"{state}:stop"), arena.family.worker("worker.on_device:sleep:4")
        _ring_until_stopped(arena, [victim])
        _end_lease(arena, victim)
        until = time.monotonic() + HANDOVER_S
        while time.monotonic() < until and not _is_held_by_another(arena, victim):
            arena.ring([other])
            time.sleep(0.005)
        victim.signal(signal.SIGCONT)
        done.faults += 1
        done.recoveries.append(arena.probe())
        arena.family.bury([victim, other])
    return done


def freeze(arena: Arena, state: str, count: int) -> Done:
    """Stop a server or a process of the stack for some seconds: `valkey:5`."""
    name, _, seconds = state.partition(":")
    done = Done()
    for _ in range(count):
        servers = {"postgres": arena.postgres, "valkey": arena.valkey}
        if name in servers:
            servers[name].signal(signal.SIGSTOP)
        else:
            _signal_tree(arena.stack.pid(name), signal.SIGSTOP)
        time.sleep(float(seconds))
        if name in servers:
            servers[name].signal(signal.SIGCONT)
        else:
            _signal_tree(arena.stack.pid(name), signal.SIGCONT)
        done.faults += 1
        done.recoveries.append(arena.probe())
    return done


def _ring_until_stopped(arena: Arena, victims: Sequence[Relative]) -> None:
    """Ring workers until each has stopped itself, or the time is up."""
    until = time.monotonic() + DEATH_TIMEOUT_S
    while time.monotonic() < until and not all(_is_stopped(victim) for victim in victims):
        arena.ring([victim for victim in victims if not _is_stopped(victim)])
        time.sleep(0.02)


def _end_lease(arena: Arena, victim: Relative) -> None:
    """Let the lease of a worker be over, as eight seconds of silence would."""
    with arena.database.begin() as connection:
        connection.exec_driver_sql(
            "UPDATE workers SET lease_expires_at = now() - interval '1 ms' WHERE pid = %(pid)s AND stopped_at IS NULL",
            {"pid": victim.pid},
        )


def _is_held_by_another(arena: Arena, victim: Relative) -> bool:
    """Whether a row that a worker held is being computed by another now."""
    with arena.database.connect() as connection:
        found = connection.exec_driver_sql(
            "SELECT FROM predictions p JOIN workers w ON w.id = p.worker_id WHERE p.status = 'processing'"
            " AND w.pid <> %(pid)s AND p.id IN (SELECT m.id FROM witness.moves m JOIN workers o ON o.id = m.worker_id"
            " WHERE o.pid = %(pid)s)",
            {"pid": victim.pid},
        )
        return found.first() is not None


def _is_stopped(victim: Relative) -> bool:
    try:
        return psutil.Process(victim.pid).status() == psutil.STATUS_STOPPED
    except psutil.NoSuchProcess:
        return False


def _signal_tree(pid: int, number: int) -> None:
    process = psutil.Process(pid)
    for each in [process, *process.children(recursive=True)]:
        each.send_signal(number)
