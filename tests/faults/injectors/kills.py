"""Kills of the processes that serve: workers and web processes."""

import signal
import subprocess
import time
from collections.abc import Sequence

import httpx
import psutil

from stack.embedded import free_port
from tests.faults.arena import Arena
from tests.faults.family import Relative, web_server
from tests.faults.history import Clients
from tests.faults.injectors.done import DEATH_TIMEOUT_S, WAVE, Done, await_ready, killed
from tests.running import wait_until


def kill_worker_at(arena: Arena, state: str, count: int) -> Done:
    """Let inference workers kill themselves at a named state."""
    done = Done()
    while count > done.faults:
        victims = [
            arena.family.worker(f"{state}:kill@{arena.rng.randint(1, 4)}")
            for _ in range(min(WAVE, count - done.faults))
        ]
        done.add_deaths(killed(arena.ring_until_dead(victims, DEATH_TIMEOUT_S)))
        arena.family.bury(victims)
    return done


def kill_draining_worker(arena: Arena, state: str, count: int) -> Done:
    """Tell workers to leave, and let them die while they drain."""
    done = Done()
    while count > done.faults:
        victims = [arena.family.worker(f"{state}:kill") for _ in range(min(WAVE, count - done.faults))]
        _await_listening(arena, victims)
        arena.ring(victims)
        for victim in victims:
            victim.signal(signal.SIGTERM)
        done.add_deaths(killed(arena.ring_until_dead(victims, DEATH_TIMEOUT_S)))
        arena.family.bury(victims)
    return done


def kill_worker_randomly(arena: Arena, _state: str, count: int) -> Done:
    """Kill busy workers at moments that nobody chose."""
    done = Done()
    while count > done.faults:
        victims = [arena.family.worker() for _ in range(min(WAVE, count - done.faults))]
        await_ready(arena, victims)
        for victim in victims:
            until = time.monotonic() + arena.rng.uniform(0.01, 0.3)
            while time.monotonic() < until:
                arena.ring(victims)
                time.sleep(0.005)
            victim.signal(signal.SIGKILL)
        done.add_deaths(killed(arena.ring_until_dead(victims, 10)))
    return done


def kill_web_at(arena: Arena, state: str, count: int) -> Done:
    """Let a web process kill itself at a named state again and again, while clients ask it."""
    done, port = Done(), free_port()
    armed = f"{state}:kill@{arena.rng.randint(2, 6)}"
    url = f"http://127.0.0.1:{port}"
    clients = Clients(
        arena.history, [arena.stack.url, url], arena.stack.admin_key, count=2, seed=arena.rng.randint(1, 9)
    )
    while done.faults < count:
        with web_server(port, arena.environment, arena.log_dir / "victim-web.log", armed) as server:
            # It ends with a child that dies too soon after another; the supervisor would start it anew, as we do.
            while done.faults < count and (child := _await_web_child(server, url)) is not None:
                with clients.asking():
                    psutil.wait_procs([child], timeout=DEATH_TIMEOUT_S)
                assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE
                done.faults += 1
                done.recoveries.append(arena.probe())
    return done


def _await_listening(arena: Arena, victims: Sequence[Relative]) -> None:
    """Wait until workers hear doorbells; from then on SIGTERM lets them drain."""
    logs = [arena.log_dir / f"device-{victim.node.partition('@')[0]}.log" for victim in victims]
    wait_until(lambda: all("doorbell_heard_from_now" in log.read_text() for log in logs), DEATH_TIMEOUT_S)


def _await_web_child(server: "subprocess.Popen[bytes]", url: str) -> psutil.Process | None:
    """Wait for the process that answers; None when its parent has ended."""
    until = time.monotonic() + DEATH_TIMEOUT_S
    while server.poll() is None:
        child = _web_child(server.pid, url)
        if child is not None:
            return child
        assert time.monotonic() < until, "the web process was not born again"
        time.sleep(0.05)
    return None


def _web_child(pid: int, url: str) -> psutil.Process | None:
    """The process that answers HTTP under a granian, once it does."""
    try:
        if not httpx.get(f"{url}/health/live", timeout=2).is_success:
            return None
    except httpx.HTTPError:
        return None
    children = [
        child
        for child in psutil.Process(pid).children()
        if child.status() != psutil.STATUS_ZOMBIE and "resource_tracker" not in " ".join(child.cmdline())
    ]
    return children[-1] if children else None
