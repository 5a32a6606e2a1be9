"""Starting and stopping each peer: its processes, its address, and the form in which it takes a request."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path

import httpx

from benchmarks.peers.network import MODEL_VARIABLE, THREADS_VARIABLE, WEIGHTS_VARIABLE
from stack.embedded import free_port, prepare_valkey
from tests.running import ROOT, wait_until

ENVIRONMENT = ROOT / ".venv-peers"
START_TIMEOUT_S = 300.0
STOP_TIMEOUT_S = 20.0

#: The cores that all contestants share with the load.
PROCESSES = 2
CELERY_THREADS = 16
BOUNDARY = "torchqueue-benchmark"


class PeersMissingError(Exception):
    """Raised when the peers' environment was not made."""


class PeerFailedError(Exception):
    """Raised when a peer ended before it answered."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a peer takes: a body of which each photo or input is a part, and its content type."""

    body: bytes
    content_type: str


def _as_sent(body: bytes, model: str) -> Request:
    return Request(body=body, content_type="image/jpeg" if model == "resnet18" else "application/json")


def _for_litserve(body: bytes, model: str) -> Request:
    return _as_form(body, "image") if model == "resnet18" else _as_sent(body, model)


def _for_bentoml(body: bytes, model: str) -> Request:
    if model == "resnet18":
        return _as_form(body, "images")
    # A batch of one, as its clients send it.
    return Request(body=b'{"inputs": [[0, 1]]}', content_type="application/json")


def _as_form(body: bytes, field_name: str) -> Request:
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{field_name}"; filename="photo.jpg"\r\n'
    part = f"{head}Content-Type: image/jpeg\r\n\r\n".encode() + body + f"\r\n--{BOUNDARY}--\r\n".encode()
    return Request(body=part, content_type=f"multipart/form-data; boundary={BOUNDARY}")


@dataclass(frozen=True, kw_only=True)
class Peer:
    """One serving system, set up as a user would.

    Attributes:
        name: In the table.
        commands: Command lines below the environment's `bin`, with `{port}` and the like to fill in; all run at once.
        path: By model.
        request: Wraps an input as the peer takes it.
        variables: More environment for its processes.
        threads: Threads of torch in each process; None leaves torch's own choice.
        needs_redis: Whether it gets an embedded Valkey.
    """

    name: str
    commands: Sequence[str]
    path: Mapping[str, str] = field(default_factory=lambda: {"resnet18": "/predict", "xor": "/predict"})
    request: Callable[[bytes, str], Request] = _as_sent
    variables: Mapping[str, str] = field(default_factory=dict)
    threads: int | None = None
    needs_redis: bool = False


PEERS = (
    Peer(name="LitServe", commands=["python -m benchmarks.peers.litserve_peer"], request=_for_litserve),
    Peer(
        name="BentoML",
        commands=["bentoml serve benchmarks.peers.bentoml_peer:Model --port {port} --host 127.0.0.1"],
        path={"resnet18": "/photos", "xor": "/numbers"},
        request=_for_bentoml,
        variables={"BENTOML_DO_NOT_TRACK": "1", "BENTOML_HOME": "{folder}/bentoml"},
    ),
    Peer(
        name="Ray Serve",
        commands=["python -m benchmarks.peers.ray_peer"],
        path={"resnet18": "/", "xor": "/"},
        variables={
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_TMPDIR": "{folder}",
            # It would keep a token in the home folder, for a server that only this machine reaches.
            "RAY_AUTH_MODE": "disabled",
            # A busy machine takes longer than its default.
            "RAY_raylet_start_wait_time_s": "300",
        },
    ),
    Peer(
        name="FastAPI",
        commands=["uvicorn benchmarks.peers.fastapi_peer:app --port {port} --workers {processes} --log-level warning"],
        threads=1,
    ),
    Peer(
        name="Celery tutorial",
        commands=[
            "gunicorn benchmarks.peers.celery_peer:web -b 127.0.0.1:{port} -w {processes} --threads {threads}",
            "celery -A benchmarks.peers.celery_peer:app worker -c {processes} -l WARNING",
        ],
        threads=1,
        needs_redis=True,
    ),
)


def require_environment() -> None:
    """Check that the peers are installed.

    Raises:
        PeersMissingError: They are not.
    """
    if not (ENVIRONMENT / "bin" / "python").exists():
        raise PeersMissingError("the peers are not installed: `make bench-peers` makes their environment .venv-peers")


@contextmanager
def running_peer(peer: Peer, model: str, weights: Path) -> Iterator[str]:
    """Start a peer, yield the URL that answers for the model, and stop it with all its processes.

    Raises:
        PeersMissingError: Their environment is not there.
        PeerFailedError: It did not start.
    """
    require_environment()
    folder = Path(tempfile.mkdtemp(prefix="tqp-"))
    port = free_port()
    with ExitStack() as cleanup:
        cleanup.callback(shutil.rmtree, folder, ignore_errors=True)
        environment = _environment(peer, model, weights, folder, port)
        if peer.needs_redis:
            environment["PEER_REDIS_URL"] = cleanup.enter_context(_running_valkey(folder))
        log = cleanup.enter_context((folder / "peer.log").open("wb"))
        processes = []
        for command in peer.commands:
            line = command.format(port=port, processes=PROCESSES, threads=CELERY_THREADS)
            process = _start(line, environment, log.fileno())
            cleanup.callback(_stop, process)
            processes.append(process)
        _wait_until_open(port, processes, folder / "peer.log")
        url = f"http://127.0.0.1:{port}{peer.path[model]}"
        yield url


def wait_until_answers(url: str, request: Request) -> str:
    """Ask until the first success: processes that load a model listen before they can answer. Returns the answer.

    Raises:
        PeerFailedError: None came in time.
    """
    until = time.monotonic() + START_TIMEOUT_S
    told = ""
    while time.monotonic() < until:
        try:
            response = httpx.post(
                url, content=request.body, headers={"Content-Type": request.content_type}, timeout=START_TIMEOUT_S
            )
            if response.is_success:
                return response.text
            told = f"{response.status_code}: {response.text[:500]}"
            if response.is_client_error and response.status_code != HTTPStatus.NOT_FOUND:
                # It understands us well enough to say no; asking again changes nothing. A path may be yet to come.
                break
        except httpx.HTTPError as error:
            told = repr(error)
        time.sleep(0.2)
    raise PeerFailedError(f"no success from {url}: {told}")


def _environment(peer: Peer, model: str, weights: Path, folder: Path, port: int) -> dict[str, str]:
    added = {name: value.format(folder=folder) for name, value in peer.variables.items()}
    if peer.threads is not None:
        added |= {THREADS_VARIABLE: str(peer.threads)}
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith(("TORCHQUEUE_", "PEER_"))},
        MODEL_VARIABLE: model,
        WEIGHTS_VARIABLE: str(weights),
        "PEER_PORT": str(port),
        "PYTHONPATH": str(ROOT),
        "PATH": f"{ENVIRONMENT / 'bin'}:{os.environ['PATH']}",
        **added,
    }


def _start(command: str, environment: dict[str, str], log: int) -> "subprocess.Popen[bytes]":
    program, *arguments = command.split()
    # A session of its own, so that all its processes can be stopped at once.
    return subprocess.Popen(
        [str(ENVIRONMENT / "bin" / program), *arguments],
        cwd=ROOT,
        env=environment,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def _stop(process: "subprocess.Popen[bytes]") -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
            process.wait(STOP_TIMEOUT_S)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            continue


@contextmanager
def _running_valkey(folder: Path) -> Iterator[str]:
    server = prepare_valkey(folder / "valkey")
    process = subprocess.Popen(server.argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until(server.is_ready, START_TIMEOUT_S)
        yield server.url
    finally:
        process.terminate()
        process.wait(STOP_TIMEOUT_S)


def _wait_until_open(port: int, processes: Sequence["subprocess.Popen[bytes]"], log: Path) -> None:
    until = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < until:
        if any(process.poll() is not None for process in processes):
            break
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise PeerFailedError(log.read_text(errors="replace")[-2000:])
