"""Which processes a stack on this machine consists of."""

import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from urllib.error import HTTPError
from urllib.request import urlopen

from sqlalchemy import Engine as Database
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from ml.devices import device_slug, list_devices
from ml.layouts import DEFAULT_LAYOUT, Layout
from schemas.enums import WorkerRole
from stack.embedded import EmbeddedServer
from stack.service import Service, Stage
from store.database import open_session
from store.settings import Settings
from store.tables.worker import Worker

HTTP_TIMEOUT_S = 1.0

THREADS_VARIABLE = "TORCHQUEUE_COMPUTE_THREADS"

MEASURE_VARIABLE = "TORCHQUEUE_MEASURE_LAYOUT"

#: Each web process allows its part of what a key may ask for; where there are more of them elsewhere, the operator
#: says how many in all.
WEB_PROCESSES_VARIABLE = "TORCHQUEUE_WEB_PROCESSES"

# Waits for answers are cut short at once; what computes in the process may take as long as the server allows.
WEB_STOP_TIMEOUT_S = 14.0

# A worker ends by itself within its own limit of twenty seconds, and tells Postgres.
WORKER_STOP_TIMEOUT_S = 22.0


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What the operator chose.

    Attributes:
        settings: As every child reads them.
        host: Address on which the API listens.
        port: Port on which the API listens.
        workers: Inference workers; None for one a GPU, or as many CPU devices as the layout says.
        layout: Of CPU workers.
        measures_layout: Whether nobody has measured it here, so that the first CPU worker does once it idles.
        web_processes: Processes that answer HTTP.
        inline: Whether these compute the models whose placement is `inline`.
    """

    settings: Settings
    host: str
    port: int
    workers: int | None = None
    layout: Layout = DEFAULT_LAYOUT
    measures_layout: bool = False
    web_processes: int = 1
    inline: bool = False

    @property
    def url(self) -> str:
        """Where the API is."""
        return f"http://{self.host}:{self.port}"

    @property
    def flower_url(self) -> str:
        """Where Flower is."""
        return f"http://{self.settings.flower_host}:{self.settings.flower_port}"


def server_service(server: EmbeddedServer) -> Service:
    """Describe an embedded server to the supervisor."""
    return Service(
        name=server.name,
        argv=server.argv,
        stage=Stage.SERVERS,
        is_ready=lambda _pid: server.is_ready(),
        user=server.user,
    )


def application_services(plan: Plan, database: Database, env: dict[str, str]) -> list[Service]:
    """Describe our own processes: web, workers, beat and Flower."""
    return [
        _web(plan, env),
        *inference_services(plan, database, env),
        _worker(WorkerRole.TRAINING, list_devices()[0], database, env),
        _worker(WorkerRole.MAINTENANCE, "cpu:0", database, env),
        _worker(WorkerRole.DELIVERY, "cpu:0", database, env),
        _worker(WorkerRole.FETCH, "cpu:0", database, env),
        Service(name="beat", argv=_module("tasks.beat"), stage=Stage.BEAT, env=env, essential=False),
        Service(
            name="flower",
            argv=_module("tasks.flower"),
            stage=Stage.OBSERVERS,
            env=env,
            url=plan.flower_url,
            essential=False,
            # It answers 401 without the password, which is as good a sign as any.
            is_ready=lambda _pid: _answers(plan.flower_url),
        ),
    ]


def inference_services(plan: Plan, database: Database, env: dict[str, str]) -> list[Service]:
    """Describe the inference workers, the first device's first."""
    # The threads go with the number of processes; who asks for another number says the threads too, or has one.
    threads = {} if plan.workers else {THREADS_VARIABLE: str(plan.layout.threads)}
    first, *others = choose_devices(list_devices(), plan.workers, plan.layout)
    measures = {MEASURE_VARIABLE: str(int(plan.measures_layout))}
    return [
        _worker(WorkerRole.INFERENCE, first, database, {**threads, **measures, **env}),
        *[_worker(WorkerRole.INFERENCE, device, database, {**threads, **env}) for device in others],
    ]


def choose_devices(devices: list[str], workers: int | None, layout: Layout = DEFAULT_LAYOUT) -> list[str]:
    """Name a device for each inference worker: all that there are, or as many as asked.

    On a machine without GPU, N workers are N CPU devices, `cpu:0` to `cpu:N-1`; where nobody asks, as many as measured.
    """
    if devices[0].startswith("cuda"):
        return devices[:workers]
    return [f"cpu:{index}" for index in range(workers or layout.processes)]


def _web(plan: Plan, env: dict[str, str]) -> Service:
    return Service(
        name="web",
        argv=web_command(host=plan.host, port=plan.port, processes=plan.web_processes),
        stage=Stage.WEB,
        env={
            WEB_PROCESSES_VARIABLE: str(plan.web_processes),
            **env,
            "TORCHQUEUE_INLINE": str(int(plan.inline)),
        },
        url=plan.url,
        is_ready=lambda _pid: _answers(f"{plan.url}/health/ready", 200),
        stop_timeout_s=WEB_STOP_TIMEOUT_S,
    )


def web_command(*, host: str, port: int, processes: int, grace_s: float = 0.0) -> list[str]:
    """Return the web server's command line."""
    return [
        *_module("webapp.server"),
        f"--host={host}",
        f"--port={port}",
        f"--processes={processes}",
        f"--grace={grace_s:g}",
    ]


def _worker(role: WorkerRole, device: str, database: Database, env: dict[str, str]) -> Service:
    return Service(
        name=device_slug(device) if role is WorkerRole.INFERENCE else str(role),
        argv=[*_module("tasks.worker"), str(role), f"--device={device}"],
        stage=Stage.WORKERS,
        env=env,
        is_ready=_lease_check(database),
        stop_timeout_s=WORKER_STOP_TIMEOUT_S,
        holds_claims=role is not WorkerRole.MAINTENANCE,
        # What maintenance does at once, the inference workers do too with every heartbeat.
        essential=role is WorkerRole.INFERENCE,
    )


def _lease_check(database: Database) -> Callable[[int], bool]:
    """Make a check whether the worker with a process id has registered: it does so when its models are warm."""
    host = socket.gethostname()

    def holds_lease(pid: int) -> bool:
        live = select(Worker.id).where(Worker.host == host, Worker.pid == pid, Worker.stopped_at.is_(None))
        try:
            with open_session(database) as session:
                return session.scalar(live) is not None
        except SQLAlchemyError:
            return False

    return holds_lease


def _module(name: str) -> list[str]:
    return [sys.executable, "-m", name]


def _answers(url: str, status: int | None = None) -> bool:
    try:
        with urlopen(url, timeout=HTTP_TIMEOUT_S) as response:  # noqa: S310 - our own address
            found: int = response.status
    except HTTPError as error:
        found = error.code
    except OSError:
        return False
    return status is None or found == status
