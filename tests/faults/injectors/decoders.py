"""Deaths of the processes that decode photos, under a load of photos."""

import time
from collections.abc import Callable

import psutil

from tests.faults.arena import Arena
from tests.faults.history import Clients
from tests.faults.injectors.done import Done
from tests.faults.injectors.memory import memory_limit
from tests.faults.injectors.poison import prepare_models
from tests.faults.inputs import large_photo
from tests.faults.marks import DECODER
from tests.running import wait_until

Kill = Callable[[psutil.Process], None]

#: Clients that send photos all the time: more than are decoded at once.
PHOTOGRAPHERS = 3

#: A decoder whose memory is limited dies when it touches its next page.
DEATH_TIMEOUT_S = 20.0


def kill_decoders(arena: Arena, _state: str, count: int) -> Done:
    """Kill decoding processes at moments that nobody chose."""
    return _lose_decoders(arena, count, psutil.Process.kill)


def starve_decoders(arena: Arena, _state: str, count: int) -> Done:
    """Let the kernel kill decoding processes, whose memory it has been told to limit."""
    return _lose_decoders(arena, count, _starve)


def _lose_decoders(arena: Arena, count: int, kill: Kill) -> Done:
    """Lose one after the other. Its file must be decoded by the next, and the worker must not notice."""
    prepare_models(arena)
    arena.probe(request=large_photo(arena.history))
    done, worker = Done(kills=False), psutil.Process(arena.stack.pid("cpu-0"))
    photographers = Clients(
        arena.history,
        [arena.stack.url],
        arena.stack.admin_key,
        count=PHOTOGRAPHERS,
        pause_s=0.0,
        begin=lambda _: large_photo(arena.history),
        prefers=["wait=5"],
    )
    with photographers.asking():
        while done.faults < count:
            time.sleep(arena.rng.uniform(0.0, 0.3))
            kill(arena.rng.choice(_decoders(worker)))
            done.faults += 1
            # Later than the file that was lost, so that no file loses two decoders, which would be its own fault.
            done.recoveries.append(arena.probe(request=large_photo(arena.history)))
    if arena.stack.pid("cpu-0") != worker.pid:
        done.broken.append("a worker: ended by the death of a decoder")
    return done


def _decoders(worker: psutil.Process) -> list[psutil.Process]:
    """The decoding processes of a worker that live."""
    found: list[psutil.Process] = []

    def look() -> bool:
        servers = [child for child in worker.children() if DECODER in child.cmdline()]
        found[:] = [decoder for server in servers for decoder in server.children()]
        return bool(found)

    wait_until(look, DEATH_TIMEOUT_S)
    return found


def _starve(decoder: psutil.Process) -> None:
    with memory_limit() as limit:
        limit(decoder.pid)
        wait_until(lambda: not decoder.is_running() or decoder.status() == psutil.STATUS_ZOMBIE, DEATH_TIMEOUT_S)
