"""Where faults happen: a whole stack, its servers in our hands, clients that never stop asking, and the checker."""

import base64
import json
import random
import shutil
import socket
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import redis
from sqlalchemy import Engine, make_url
from sqlalchemy.exc import SQLAlchemyError

from schemas.messages import RunPredictions
from schemas.names import QueueName, inference_queue
from stack.bootstrap import BUNDLED
from store.database import create_database
from store.replies import connect_redis
from tasks.doorbell import Doorbell
from tasks.maintenance import Maintenance
from tests.broker import PREFIX
from tests.faults.checker import Checker, Findings
from tests.faults.disks import Disk, small_disks
from tests.faults.family import Family, Relative
from tests.faults.history import Clients, History, Request
from tests.faults.marks import FORWARDS
from tests.faults.servers import Server, running_servers
from tests.faults.told import Told
from tests.running import NO_VARIABLES, RunningStack, write_small_models
from tests.sinks import LOOPBACK, Sink, running_sink

#: So small that one burst of requests is many batches, and a worker that dies takes a few rows with it.
MAX_BATCH = 2

#: A network and a decoder that can be made to fail; a worker without such inputs serves as ever.
PLUGIN = "tests.faults.poisoned"

#: Of the tenant whom no fault touches, between two requests.
OTHERS_PAUSE_S = 0.02

RING_S = 0.02
PROBE_TIMEOUT_S = 60.0
PROBE_PAUSE_S = 0.05

NO_DISKS: Mapping[str, Disk] = {}


class Arena:
    """One stack and all that the faults need of it.

    Attributes:
        stack: As `torchqueue up` runs it.
        postgres: Its Postgres.
        valkey: Its Valkey.
        sink: Hears of the ends of some predictions.
        family: Bears further processes.
        clients: Ask all the time.
        others: A tenant whom no fault touches, with a key of its own.
        calm_ms: How long that tenant waited for answers while there was no fault; empty until it was measured.
        rng: Of this run.
        environment: With which further processes of ours reach the servers.
        releases: Whether deaths are told at once, as the supervisor does; False leaves them to leases.
        folder: For whatever a fault needs.
        disks: The small ones that it runs on, by name; none where it runs on that of the machine.
    """

    def __init__(
        self,
        stack: RunningStack,
        postgres: Server,
        valkey: Server,
        sink: Sink,
        folder: Path,
        *,
        environment: Mapping[str, str],
        seed: int,
        pause_s: float,
        disks: Mapping[str, Disk] = NO_DISKS,
    ) -> None:
        self.stack, self.postgres, self.valkey, self.sink, self.folder = stack, postgres, valkey, sink, folder
        self.rng, self.disks = random.Random(seed), disks
        self.log_dir = folder / "log"
        self.environment = {**stack.settings, "TORCHQUEUE_VAR": str(folder), **environment}
        self.releases = True
        self._releaser = create_database(postgres.url, application="suite", pool_size=2)
        self._maintenance = Maintenance(
            self._releaser, connect_redis(valkey.url), Doorbell(valkey.url), timedelta(days=90)
        )
        self.family = Family(self.environment, self.log_dir, self.release)
        self.history = History()
        self.history.webhook = _make_endpoint(stack, sink)
        self.clients = Clients(self.history, [stack.url], stack.admin_key, pause_s=pause_s, seed=seed)
        other_key = _make_key(stack)
        self.others = Clients(
            self.history,
            [stack.url],
            other_key,
            count=1,
            pause_s=OTHERS_PAUSE_S,
            begin=lambda _: self.history.note(is_other=True),
            prefers=["wait=5"],
        )
        self.calm_ms: list[float] = []
        self.doorbell = Doorbell(valkey.url)
        self.broker = redis.Redis.from_url(valkey.url, socket_timeout=5, socket_connect_timeout=2)
        self._heard = RungIds(valkey.url)
        secrets = [
            stack.admin_key,
            other_key,
            stack.flower_auth[1],
            make_url(valkey.url.replace("redis://:", "redis://u:")).password,
        ]
        self.checker = Checker(libpq(postgres.url), secrets=[str(secret) for secret in secrets], logs=self.log_dir)

    @property
    def database(self) -> Engine:
        """The database, as the suite sees it."""
        return self._releaser

    @property
    def headers(self) -> dict[str, str]:
        """That let a client do everything."""
        return {"Authorization": f"Bearer {self.stack.admin_key}"}

    def ring(self, victims: Sequence[Relative]) -> None:
        """Ring workers for rows that may be there or not."""
        for victim in victims:
            if not victim.died.is_set():
                message = RunPredictions(model="xor", version=1, prediction_ids=[])
                self.doorbell.ring(inference_queue(victim.node), message)

    def ring_until_dead(self, victims: Sequence[Relative], timeout_s: float) -> list[Relative]:
        """Ring workers until each has died; returns those that did."""
        until = time.monotonic() + timeout_s
        while time.monotonic() < until and not all(victim.died.is_set() for victim in victims):
            self.ring(victims)
            time.sleep(RING_S)
        return [victim for victim in victims if victim.died.is_set()]

    def probe(self, url: str | None = None, request: Request | None = None) -> float:
        """Ask the stack, or another API, until an answer with a result comes; returns how long that took, seconds."""
        began = time.monotonic()
        request = request or self.history.begin(random.Random(1))
        request.key = request.key or f"probe-{request.number}"
        with httpx.Client(base_url=url or self.stack.url, headers=self.headers, timeout=15) as client:
            while time.monotonic() - began < PROBE_TIMEOUT_S:
                # A "maybe" or a refusal is asked again with the same key.
                if self.history.ask(client, request, "wait=10") and request.label is not None:
                    break
                time.sleep(PROBE_PAUSE_S)
        return time.monotonic() - began

    def check(self) -> Findings:
        """Judge all since the last check. No client may be asking."""
        requests, refusals = self.history.take()
        return self.checker.check(requests, refusals, self._heard.take(), self._take_told)

    def _take_told(self) -> list[Told]:
        return [Told(each.headers["webhook-id"], json.loads(each.body)["data"]["id"]) for each in self.sink.take_all()]

    def close(self) -> None:
        """End all that the suite started beside the stack."""
        self.checker.orphans.close()
        self._heard.close()
        self.family.close()
        self._releaser.dispose()

    def release(self, pid: int) -> None:
        """What the supervisor does when a process of its own has died."""
        if not self.releases:
            return
        with suppress(SQLAlchemyError, redis.RedisError):
            self._maintenance.release_dead_worker(socket.gethostname(), pid)


class RungIds:
    """Reads along what is sent to Valkey, and keeps the ids that doorbells name."""

    def __init__(self, url: str) -> None:
        self._client = redis.Redis.from_url(url, socket_timeout=1, socket_connect_timeout=1)
        self._ids: set[str] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="doorbells", daemon=True)
        self._thread.start()

    def take(self) -> set[str]:
        """Return the ids since the last call."""
        taken, self._ids = self._ids, set()
        return taken

    def close(self) -> None:
        """End."""
        self._stop.set()
        self._thread.join(3)
        self._client.close()

    def _run(self) -> None:
        while not self._stop.is_set():
            with suppress(redis.RedisError, OSError, ValueError), self._client.monitor() as monitor:  # type: ignore[no-untyped-call]
                while not self._stop.is_set():
                    self._note(monitor.next_command()["command"])
            self._stop.wait(0.1)

    def _note(self, command: str) -> None:
        if command.startswith(f"LPUSH {PREFIX}{QueueName.INFERENCE}") and "forged" not in command:
            with suppress(ValueError, LookupError, TypeError, AttributeError):
                message = json.loads(command[command.index("{") :])
                self._ids |= set(_kwargs(message).get("prediction_ids", []))


def _kwargs(message: dict[str, Any]) -> dict[str, Any]:
    _, kwargs, _ = json.loads(base64.b64decode(message["body"]))
    return dict(kwargs)


def libpq(url: str) -> str:
    """The address of an embedded Postgres as libpq takes it."""
    parsed = make_url(url)
    return f"host={parsed.query['host']} user={parsed.username} dbname={parsed.database}"


@contextmanager
def running_arena(
    folder: Path,
    *,
    seed: int,
    environment: Mapping[str, str] = NO_VARIABLES,
    pause_s: float = 0.04,
    on_small_disks: bool = False,
) -> Iterator[Arena]:
    """Run an arena in a folder of its own, which is left for whoever wants to read its logs.

    Args:
        folder: Must not be in use.
        seed: Of all choices.
        environment: Of the stack's processes.
        pause_s: Of each client between two requests.
        on_small_disks: Whether each folder that is written has a small disk; a model of photos is there then.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        disks = stack.enter_context(small_disks(folder)) if on_small_disks else NO_DISKS
        models = write_small_models(folder / "models", max_batch=MAX_BATCH)
        if disks:
            shutil.copytree(BUNDLED / "fashion", models / "fashion")
        postgres, valkey = stack.enter_context(running_servers(folder))
        sink = stack.enter_context(running_sink())
        environment = {
            **environment,
            "TORCHQUEUE_PLUGINS": PLUGIN,
            FORWARDS: str(folder / "forwards.log"),
            "TORCHQUEUE_OUTWARD_NETWORKS": str(LOOPBACK),
            "TORCHQUEUE_OUTWARD_PORTS": str(sink.port),
        }
        addresses = {"TORCHQUEUE_DATABASE_URL": postgres.url, "TORCHQUEUE_REDIS_URL": valkey.url}
        running = stack.enter_context(
            RunningStack.start(
                folder,
                "--workers=1",
                "--web-processes=1",
                f"--models={models}",
                environment={**addresses, **environment},
            )
        )
        arena = Arena(
            running,
            postgres,
            valkey,
            sink,
            folder,
            environment=environment,
            seed=seed,
            pause_s=pause_s,
            disks=disks,
        )
        stack.callback(arena.close)
        yield arena


def _make_endpoint(stack: RunningStack, sink: Sink) -> str:
    """Make a webhook endpoint at the sink that hears of what names it; returns its id."""
    made = stack.client.post("/v1/webhooks", json={"url": f"{sink.url}/told", "events": []})
    return str(made.raise_for_status().json()["id"])


def _make_key(stack: RunningStack) -> str:
    """Make an API key of another tenant."""
    made = stack.client.post("/v1/keys", json={"name": "other", "scopes": ["predict"]})
    return str(made.raise_for_status().json()["key"])
