"""Processes that are told to leave while clients ask."""

import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import httpx

from stack.embedded import free_port
from tests.faults.arena import Arena
from tests.faults.family import web_server
from tests.faults.history import Clients, Request
from tests.faults.injectors.done import Done, await_ready

#: How often a load balancer looks, seconds.
LOOK_S = 1.0

#: `torchqueue web --grace`, and what its end may take beyond.
GRACE_S = 5.0
LEAVE_WITHIN_S = GRACE_S + 14.0


def leave_worker(arena: Arena, _state: str, count: int) -> Done:
    """Tell the stack's worker to leave while another serves: nobody may notice, and the supervisor starts it anew."""
    done = Done()
    for _ in range(count):
        other = arena.family.worker()
        await_ready(arena, [other])
        with _undisturbed(arena, done):
            time.sleep(arena.rng.uniform(0.2, 0.6))
            began, pid = time.monotonic(), arena.stack.kill("cpu-0", signal.SIGTERM)
            arena.stack.wait_for("cpu-0", other_than=pid)
            arena.probe()
            done.recoveries.append(time.monotonic() - began)
            other.signal(signal.SIGTERM)
            if not other.died.wait(LEAVE_WITHIN_S) or other.status != 0:
                done.broken.append(f"a worker that was told to leave ended with {other.status}")
        arena.family.bury([other])
        done.faults += 1
    return done


def leave_web(arena: Arena, _state: str, count: int) -> Done:
    """Tell the stack's web to leave: it has no grace, and is started anew."""
    done = Done()
    for _ in range(count):
        time.sleep(arena.rng.uniform(0.2, 0.6))
        began, pid = time.monotonic(), arena.stack.kill("web", signal.SIGTERM)
        arena.stack.wait_for("web", other_than=pid)
        arena.probe()
        done.faults += 1
        done.recoveries.append(time.monotonic() - began)
    return done


def leave_balanced_web(arena: Arena, _state: str, count: int) -> Done:
    """Tell an API beside the stack's to leave, behind a balancer that looks whether it is ready: nobody may notice."""
    done, port = Done(), free_port()
    url = f"http://127.0.0.1:{port}"
    for _ in range(count):
        clients = Clients(
            arena.history, [arena.stack.url, url], arena.stack.admin_key, count=2, seed=arena.rng.randint(1, 9)
        )
        with web_server(port, arena.environment, arena.log_dir / "leaving-web.log", "", grace_s=GRACE_S) as server:
            arena.probe(url)
            with _undisturbed(arena, done), clients.asking(), _balanced(clients, url):
                time.sleep(arena.rng.uniform(0.5, 1.0))
                began = time.monotonic()
                server.send_signal(signal.SIGTERM)
                _await_left(server, done)
                done.recoveries.append(time.monotonic() - began)
        done.faults += 1
    return done


def _await_left(server: "subprocess.Popen[bytes]", done: Done) -> None:
    try:
        status = server.wait(LEAVE_WITHIN_S)
    except subprocess.TimeoutExpired:
        done.broken.append(f"a web server that was told to leave had not after {LEAVE_WITHIN_S:.0f} s")
        return
    if status != 0:
        done.broken.append(f"a web server that was told to leave ended with {status}")


@contextmanager
def _balanced(clients: Clients, url: str) -> Iterator[None]:
    """Look at an API every second, and send nobody there any more once it is not ready."""
    stop = threading.Event()

    def look() -> None:
        while not stop.wait(LOOK_S):
            if url in clients.urls and not _is_ready(url):
                clients.urls = [each for each in clients.urls if each != url]

    thread = threading.Thread(target=look, name="balancer", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health/ready", timeout=LOOK_S).is_success
    except httpx.HTTPError:
        return False


@contextmanager
def _undisturbed(arena: Arena, done: Done) -> Iterator[None]:
    """Call it broken when a client was refused, or got no answer, while the block ran."""
    before = len(arena.history.requests)
    yield
    done.broken += noticed(arena.history.requests[before:])


def noticed(requests: Sequence[Request]) -> list[str]:
    """Say what clients saw of a fault that they were to see nothing of."""
    refused = [status for request in requests for status in request.statuses if status >= 400]
    unanswered = sum(request.maybes for request in requests)
    return [f"a client was answered {status}, {refused.count(status)} times" for status in sorted(set(refused))] + (
        [f"clients got no answer, {unanswered} times"] if unanswered else []
    )
