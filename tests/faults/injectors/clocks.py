"""Processes that live in another time."""

import signal
import time
from pathlib import Path

from tests.faults.arena import Arena
from tests.faults.family import Family
from tests.faults.injectors.done import Done, await_ready

#: Where Debian puts it; rows that need it are not run where it is missing.
FAKETIME = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)


def skew_clock(arena: Arena, state: str, count: int) -> Done:
    """Let workers and beats live in another time: `+1h`."""
    environment = {
        **arena.environment,
        "LD_PRELOAD": str(FAKETIME),
        "FAKETIME": state,
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    family = Family(environment, arena.log_dir, arena.release)
    done = Done()
    try:
        while done.faults < count:
            worker, beat, reaper = family.worker(), family.beat(), family.maintenance()
            await_ready(arena, [worker])
            until = time.monotonic() + 3.0
            while time.monotonic() < until:
                arena.ring([worker])
                time.sleep(0.02)
            worker.signal(signal.SIGKILL)
            done.faults += 1
            done.recoveries.append(arena.probe())
            family.bury([worker, beat, reaper])
    finally:
        family.close()
    return done
