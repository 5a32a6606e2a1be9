"""Cuts of the wire between a worker and its servers."""

import shutil
import tempfile
import time
from pathlib import Path
from urllib.parse import urlsplit

from tests.faults.arena import Arena
from tests.faults.family import Relative
from tests.faults.injectors.done import DEATH_TIMEOUT_S, Done, await_ready
from tests.faults.wire import POSTGRES_SOCKET, Cut, Wire
from tests.running import wait_until


def cut_wire(arena: Arena, state: str, count: int) -> Done:
    """Cut a worker off from Valkey or Postgres while it works, for a while: `valkey drop 2`."""
    server, how, seconds = state.split()
    folder = Path(tempfile.mkdtemp(prefix="wire-"))
    # Whatever user the processes run as must get in.
    folder.chmod(0o755)
    wire, variables = _wire_to(arena, server, folder)
    done = Done()
    worker = arena.family.worker("", **variables)
    try:
        await_ready(arena, [worker])
        for _ in range(count):
            until = time.monotonic() + arena.rng.uniform(0.1, 0.4)
            while time.monotonic() < until:
                arena.ring([worker])
                time.sleep(0.01)
            wire.cut(Cut(how))
            time.sleep(float(seconds))
            wire.cut(Cut.WHOLE)
            healed = time.monotonic()
            arena.probe()
            _await_valid(arena, worker)
            done.faults += 1
            done.recoveries.append(time.monotonic() - healed)
    finally:
        arena.family.bury([worker])
        wire.close()
        shutil.rmtree(folder)
    return done


def _wire_to(arena: Arena, server: str, folder: Path) -> tuple[Wire, dict[str, str]]:
    """Lay a wire to a server; returns it and the variable that makes a process use it."""
    if server == "valkey":
        address = urlsplit(arena.valkey.url)
        assert address.port is not None
        wire = Wire(("127.0.0.1", address.port))
        return wire, {"TORCHQUEUE_REDIS_URL": arena.valkey.url.replace(f":{address.port}/", f":{wire.port}/")}
    sockets = arena.postgres.url.rpartition("host=")[2]
    wire = Wire(f"{sockets}/{POSTGRES_SOCKET}", folder / POSTGRES_SOCKET)
    return wire, {"TORCHQUEUE_DATABASE_URL": arena.postgres.url.replace(sockets, str(folder))}


def _await_valid(arena: Arena, worker: Relative) -> None:
    """Wait until a worker holds a lease again."""

    def holds() -> bool:
        with arena.database.connect() as connection:
            found = connection.exec_driver_sql(
                "SELECT FROM workers WHERE name = %(name)s AND stopped_at IS NULL AND lease_expires_at > now()",
                {"name": worker.node},
            )
            return found.first() is not None

    wait_until(holds, DEATH_TIMEOUT_S)
