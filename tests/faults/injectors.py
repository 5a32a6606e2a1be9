"""The ways to do harm. Each takes the arena, the state that is aimed at, and how many faults; it tells what it did."""

import base64
import json
import random
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import httpx
import psutil
import redis

from schemas.names import QueueName, TaskName
from stack.embedded import free_port
from store.settings import Settings
from tasks.app import create_celery
from tests.broker import PREFIX
from tests.faults.arena import Arena
from tests.faults.family import Family, Relative, web_server
from tests.faults.history import Clients
from tests.faults.wire import POSTGRES_SOCKET, Cut, Wire
from tests.running import wait_until

#: A worker that was born must be ready, be rung and die within this.
DEATH_TIMEOUT_S = 60.0

#: Where Debian puts it; rows that need it are not run where it is missing.
FAKETIME = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)

#: Three leases, as a process that hangs and comes back.
ZOMBIE_S = 24.0

WAVE = 4


@dataclass
class Done:
    """What an injector did.

    Attributes:
        faults: That happened.
        recoveries: Seconds from each fault, or from its end where it lasts, until all was well.
        deaths: Ends of workers, whose rows tell the recovery, by process id, wall clock.
        broken: What must not come of this fault and did.
    """

    faults: int = 0
    recoveries: list[float] = field(default_factory=list)
    deaths: dict[int, float] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)

    def add_deaths(self, dead: Sequence[Relative]) -> None:
        """Count processes that died as they should."""
        self.faults += len(dead)
        self.deaths |= {each.pid: each.died_at for each in dead if each.died_at is not None}


Injector = Callable[[Arena, str, int], Done]


def kill_worker_at(arena: Arena, state: str, count: int) -> Done:
    """Let inference workers kill themselves at a named state."""
    done = Done()
    while count > done.faults:
        victims = [
            arena.family.worker(f"{state}:kill@{arena.rng.randint(1, 4)}")
            for _ in range(min(WAVE, count - done.faults))
        ]
        done.add_deaths(_killed(arena.ring_until_dead(victims, DEATH_TIMEOUT_S)))
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
        done.add_deaths(_killed(arena.ring_until_dead(victims, DEATH_TIMEOUT_S)))
        arena.family.bury(victims)
    return done


def kill_worker_randomly(arena: Arena, _state: str, count: int) -> Done:
    """Kill busy workers at moments that nobody chose."""
    done = Done()
    while count > done.faults:
        victims = [arena.family.worker() for _ in range(min(WAVE, count - done.faults))]
        _await_ready(arena, victims)
        for victim in victims:
            until = time.monotonic() + arena.rng.uniform(0.01, 0.3)
            while time.monotonic() < until:
                arena.ring(victims)
                time.sleep(0.005)
            victim.signal(signal.SIGKILL)
        done.add_deaths(_killed(arena.ring_until_dead(victims, 10)))
    return done


def kill_web_at(arena: Arena, state: str, count: int) -> Done:
    """Let a web process kill itself at a named state again and again, while clients ask it."""
    done, port = Done(), free_port()
    armed = f"{state}:kill@{arena.rng.randint(2, 6)}"
    url = f"http://127.0.0.1:{port}"
    clients = Clients(
        arena.history, [arena.stack.url, url], arena.stack.admin_key, count=2, seed=arena.rng.randint(1, 9)
    )
    with web_server(port, arena.environment, arena.log_dir / "victim-web.log", armed) as server:
        while done.faults < count:
            child = _await_web_child(server.pid, url)
            with clients.asking():
                psutil.wait_procs([child], timeout=DEATH_TIMEOUT_S)
            assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE
            done.faults += 1
            done.recoveries.append(arena.probe())
    return done


def kill_maintenance_at(arena: Arena, state: str, count: int) -> Done:
    """Let maintenance workers kill themselves while they reap, ring or expire."""
    done = Done()
    app = create_celery(
        Settings(
            database_url=arena.postgres.url,
            redis_url=arena.valkey.url,
            object_url=f"file://{arena.folder}/objects",
            var_dir=arena.folder,
        )
    )
    tasks = (TaskName.REAP_LEASES, TaskName.RING_STRANDED, TaskName.EXPIRE_PREDICTIONS)
    while count > done.faults:
        victims = [arena.family.maintenance(f"{state}:kill") for _ in range(min(WAVE, count - done.faults))]
        until = time.monotonic() + DEATH_TIMEOUT_S
        while time.monotonic() < until and not all(victim.died.is_set() for victim in victims):
            for task in tasks:
                app.send_task(task, queue=QueueName.MAINTENANCE, ignore_result=True)
            time.sleep(0.05)
        dead = _killed([victim for victim in victims if victim.died.is_set()])
        done.faults += len(dead)
        arena.family.bury(victims)
        done.recoveries.append(arena.probe())
    app.close()
    return done


def kill_beat_at(arena: Arena, state: str, count: int) -> Done:
    """Let further beats kill themselves while they send."""
    done = Done()
    while count > done.faults:
        victims = [
            arena.family.beat(f"{state}:kill@{arena.rng.randint(1, 6)}") for _ in range(min(WAVE, count - done.faults))
        ]
        for victim in victims:
            victim.died.wait(DEATH_TIMEOUT_S)
        done.faults += len(_killed(victims))
        done.recoveries.append(arena.probe())
    return done


def add_beats(arena: Arena, _state: str, count: int) -> Done:
    """Let three beats send at once for a while."""
    done = Done()
    for _ in range(count):
        beats = [arena.family.beat() for _ in range(2)]
        time.sleep(2.5)
        arena.family.bury(beats)
        done.faults += 1
        done.recoveries.append(arena.probe())
    return done


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
        until = time.monotonic() + 3.0
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


def kill_valkey(arena: Arena, _state: str, count: int) -> Done:
    """Kill Valkey and start it again, empty."""
    done = Done()
    for _ in range(count):
        time.sleep(arena.rng.uniform(0.0, 0.3))
        arena.valkey.kill()
        time.sleep(arena.rng.uniform(0.0, 1.0))
        arena.valkey.start()
        done.faults += 1
        done.recoveries.append(arena.probe())
    return done


def kill_postgres(arena: Arena, state: str, count: int) -> Done:
    """Kill Postgres, or let it abort, and start it again: it recovers from its log."""
    done = Done()
    for _ in range(count):
        time.sleep(arena.rng.uniform(0.0, 0.3))
        began = time.monotonic()
        if state == "immediate":
            arena.postgres.stop_immediately()
        else:
            arena.postgres.kill()
        time.sleep(arena.rng.uniform(0.0, 0.5))
        arena.postgres.start()
        arena.probe()
        done.faults += 1
        done.recoveries.append(time.monotonic() - began)
    return done


def command_valkey(arena: Arena, state: str, count: int) -> Done:
    """Do to a living Valkey what operators do by mistake."""
    commands: dict[str, tuple[list[str], list[str]]] = {
        "client-kill": (["CLIENT KILL TYPE normal", "CLIENT KILL TYPE pubsub"], []),
        "flushall": (["FLUSHALL"], []),
        "maxmemory": (["CONFIG SET maxmemory 1"], ["CONFIG SET maxmemory 0"]),
        "readonly": (["REPLICAOF 127.0.0.1 1"], ["REPLICAOF NO ONE"]),
    }
    inflict, heal = commands[state]
    done = Done()
    for _ in range(count):
        time.sleep(arena.rng.uniform(0.0, 0.2))
        with redis.Redis.from_url(arena.valkey.url, socket_timeout=5) as admin:
            for command in inflict:
                admin.execute_command(*command.split())
            if heal:
                time.sleep(arena.rng.uniform(0.2, 1.5))
            for command in heal:
                admin.execute_command(*command.split())
        done.faults += 1
        done.recoveries.append(arena.probe())
    return done


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
        _await_ready(arena, [worker])
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
            _await_ready(arena, [worker])
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


def send_doorbells(arena: Arena, state: str, count: int) -> Done:
    """Ring wrongly: each message three times and in another order, or late, forged, or garbage."""
    done = Done()
    queues, pid = _inference_queues(arena), arena.stack.pid("cpu-0")
    while done.faults < count:
        messages = _messages(arena.rng, state)
        with redis.Redis.from_url(arena.valkey.url, socket_timeout=5) as broker:
            for message in messages:
                broker.lpush(f"{PREFIX}{arena.rng.choice(queues)}", message)
        done.faults += len(messages)
        done.recoveries.append(arena.probe())
    if arena.stack.pid("cpu-0") != pid:
        done.broken.append(f"a worker: ended by a doorbell ({state})")
    return done


def _messages(rng: random.Random, state: str) -> list[bytes]:
    """A burst of wrong messages; each names ids that nobody has."""
    if state == "garbage":
        return [rng.choice([b"\x00\xff garbage", b"{}", b"[1]", b'{"body": 5}', b'""', b"null"])]
    tasks = {"duplicate": "run_predictions", "forged": rng.choice(["run_predictions", "forged.task", "reap_leases"])}
    kwargs = {
        "prediction_ids": ["forged"],
        "model": rng.choice(["xor", "no-such-model", "../../etc/passwd"]),
        "version": rng.choice([1, -1]),
    } | ({} if state == "duplicate" else {"forged": [{}]})
    body = base64.b64encode(json.dumps([[], kwargs, {}]).encode()).decode()
    name = str(uuid4())
    message = {
        "body": body,
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {
            "lang": "py",
            "task": tasks[state],
            "id": name,
            "root_id": name,
            "argsrepr": "forged",
            "retries": 0,
        },
        "properties": {
            "correlation_id": name,
            "delivery_mode": 2,
            "delivery_info": {"exchange": "", "routing_key": "inference"},
            "priority": 0,
            "body_encoding": "base64",
            "delivery_tag": name,
        },
    }
    return [json.dumps(message).encode()] * 3


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


def _inference_queues(arena: Arena) -> list[str]:
    workers = arena.stack.client.get("/v1/workers").json()["data"]
    own = [f"{QueueName.INFERENCE}-{worker['name']}" for worker in workers if worker["role"] == "inference"]
    return [*own, str(QueueName.INFERENCE)]


def _await_ready(arena: Arena, victims: Sequence[Relative]) -> None:
    """Wait until workers have registered, or died."""
    names = {victim.node for victim in victims}

    def registered() -> bool:
        with arena.database.connect() as connection:
            found = connection.exec_driver_sql("SELECT name FROM workers WHERE stopped_at IS NULL").scalars().all()
        return names <= set(found) or all(victim.died.is_set() for victim in victims)

    wait_until(registered, DEATH_TIMEOUT_S)


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


def _await_listening(arena: Arena, victims: Sequence[Relative]) -> None:
    """Wait until workers hear doorbells; from then on SIGTERM lets them drain."""
    logs = [arena.log_dir / f"device-{victim.node.partition('@')[0]}.log" for victim in victims]
    wait_until(lambda: all("doorbell_heard_from_now" in log.read_text() for log in logs), DEATH_TIMEOUT_S)


def _killed(dead: Sequence[Relative]) -> list[Relative]:
    """Those that were killed, rather than ended by a fault that nobody meant."""
    return [each for each in dead if each.status == -signal.SIGKILL]


def _is_stopped(victim: Relative) -> bool:
    try:
        return psutil.Process(victim.pid).status() == psutil.STATUS_STOPPED
    except psutil.NoSuchProcess:
        return False


def _signal_tree(pid: int, number: int) -> None:
    process = psutil.Process(pid)
    for each in [process, *process.children(recursive=True)]:
        each.send_signal(number)


def _await_web_child(pid: int, url: str) -> psutil.Process:
    until = time.monotonic() + DEATH_TIMEOUT_S
    while (child := _web_child(pid, url)) is None:
        assert time.monotonic() < until, "the web process was not born again"
        time.sleep(0.05)
    return child


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
