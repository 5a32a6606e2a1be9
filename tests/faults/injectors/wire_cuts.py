"""Cuts of the wire between a worker, or a web process, and its servers."""

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from sqlalchemy import make_url

from stack.embedded import free_port
from tests.faults import packets
from tests.faults.arena import Arena
from tests.faults.family import Relative, web_server
from tests.faults.history import Clients
from tests.faults.injectors.done import DEATH_TIMEOUT_S, Done, await_ready
from tests.faults.wire import POSTGRES_SOCKET, Cut, Wire
from tests.running import wait_until

#: Whoever was cut off must be as well as ever so soon after the wire is whole.
HEAL_WITHIN_S = 20.0

LOSS = "loss"


@dataclass(frozen=True)
class End:
    """The process at our end of the wire.

    Attributes:
        work: Keeps it busy for some seconds before the fault.
        await_well: Returns when it does again what it did.
    """

    work: Callable[[float], None]
    await_well: Callable[[], None]


def cut_wire(arena: Arena, state: str, count: int) -> Done:
    """Cut a worker, or a web process, off from Valkey or Postgres for a while: `valkey drop 2`, `web-valkey loss 2`."""
    place, how, seconds = state.split()
    who, _, server = place.rpartition("-")
    done = Done()
    # Packets are lost on a port; the embedded Postgres listens on none.
    lay_end = _web if who == "web" else _worker
    with _wire_to(arena, server, tcp=how == LOSS) as (wire, variables), lay_end(arena, variables) as end:
        for _ in range(count):
            end.work(arena.rng.uniform(0.1, 0.4))
            with _failing(wire, how):
                time.sleep(float(seconds))
            healed = time.monotonic()
            arena.probe()
            end.await_well()
            done.faults += 1
            done.recoveries.append(time.monotonic() - healed)
    done.broken += [f"well only after {took:.1f} s" for took in done.recoveries if took > HEAL_WITHIN_S]
    return done


def _failing(wire: Wire, how: str) -> AbstractContextManager[None]:
    return packets.losing(wire.port) if how == LOSS else _cut(wire, Cut(how))


@contextmanager
def _cut(wire: Wire, how: Cut) -> Iterator[None]:
    wire.cut(how)
    try:
        yield
    finally:
        wire.cut(Cut.WHOLE)


@contextmanager
def _wire_to(arena: Arena, server: str, *, tcp: bool) -> Iterator[tuple[Wire, dict[str, str]]]:
    """Lay a wire to a server; yields it and the variable that makes a process use it."""
    folder = Path(tempfile.mkdtemp(prefix="wire-"))
    # Whatever user the processes run as must get in.
    folder.chmod(0o755)
    wire, variables = _to_valkey(arena) if server == "valkey" else _to_postgres(arena, None if tcp else folder)
    try:
        yield wire, variables
    finally:
        wire.close()
        shutil.rmtree(folder)


def _to_valkey(arena: Arena) -> tuple[Wire, dict[str, str]]:
    address = urlsplit(arena.valkey.url)
    assert address.port is not None
    wire = Wire(("127.0.0.1", address.port))
    return wire, {"TORCHQUEUE_REDIS_URL": arena.valkey.url.replace(f":{address.port}/", f":{wire.port}/")}


def _to_postgres(arena: Arena, folder: Path | None) -> tuple[Wire, dict[str, str]]:
    """Through a socket in a folder, or through a port of the loopback."""
    sockets = arena.postgres.url.rpartition("host=")[2]
    wire = Wire(f"{sockets}/{POSTGRES_SOCKET}", folder and folder / POSTGRES_SOCKET)
    url = make_url(arena.postgres.url).set(query={} if folder is None else {"host": str(folder)})
    if folder is None:
        url = url.set(host="127.0.0.1", port=wire.port)
    return wire, {"TORCHQUEUE_DATABASE_URL": url.render_as_string(hide_password=False)}


@contextmanager
def _worker(arena: Arena, variables: dict[str, str]) -> Iterator[End]:
    """A worker that is rung all the time, and is well when it holds a lease."""
    worker = arena.family.worker("", **variables)

    def ring(seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            arena.ring([worker])
            time.sleep(0.01)

    try:
        await_ready(arena, [worker])
        yield End(ring, lambda: _await_valid(arena, worker))
    finally:
        arena.family.bury([worker])


@contextmanager
def _web(arena: Arena, variables: dict[str, str]) -> Iterator[End]:
    """An API that clients ask beside the stack's own, and that is well when it answers with a result."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    clients = Clients(
        arena.history, [arena.stack.url, url], arena.stack.admin_key, count=2, seed=arena.rng.randint(1, 9)
    )
    with web_server(port, {**arena.environment, **variables}, arena.log_dir / "wired-web.log", ""):
        arena.probe(url)
        with clients.asking():
            yield End(time.sleep, lambda: _await_answer(arena, url))


def _await_answer(arena: Arena, url: str) -> None:
    arena.probe(url)


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
