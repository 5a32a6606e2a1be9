"""A stack of real processes, as a user starts it, for tests to call and to break."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path
from typing import Any, Self

import httpx
import psutil
from dotenv import dotenv_values
from sqlalchemy import Engine, NullPool, create_engine

from stack.bootstrap import BUNDLED
from stack.embedded import free_port
from stack.state import StackState, read_state

NO_VARIABLES: Mapping[str, str] = {}

PATIENCE_S = 150.0
"""For what is certain to come: a test that passes never waits so long, and on a busy machine nothing comes at once."""
ROOT = Path(__file__).resolve().parent.parent
SAMPLES = ROOT / "samples"


class RunningStack:
    """A running `torchqueue up`.

    Attributes:
        url: Where its API is.
        flower_url: Where its Flower is.
        admin_key: A key that may do everything.
        var_dir: Where its state is.
    """

    def __init__(self, var_dir: Path, port: int, flower_port: int, process: "subprocess.Popen[bytes]") -> None:
        self.var_dir = var_dir
        self.url = f"http://127.0.0.1:{port}"
        self.flower_url = f"http://127.0.0.1:{flower_port}"
        self.process = process
        self.admin_key = (var_dir / "admin.key").read_text().strip()
        self.client = httpx.Client(
            base_url=self.url, headers={"Authorization": f"Bearer {self.admin_key}"}, timeout=30.0
        )

    @classmethod
    @contextmanager
    def start(
        cls, var_dir: Path, *options: str, environment: Mapping[str, str] = NO_VARIABLES, root: Path = ROOT
    ) -> Iterator[Self]:
        """Start a stack, yield it when it is ready, and stop it at the end.

        Args:
            var_dir: Its folder.
            options: Of `torchqueue up`; one worker unless they say otherwise, so that it does not look whether more are
                better.
            environment: Variables on top of ours.
            root: Holds the code that it runs.
        """
        if not any(option.startswith("--workers") for option in options):
            options = (*options, "--workers=1")
        port, flower_port = free_port(), free_port()
        var_dir.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "stack", "up", f"--var={var_dir}", f"--port={port}", *options]
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("TORCHQUEUE_")}
        output = (var_dir / "up.log").open("wb")
        process = subprocess.Popen(
            [*command, f"--flower-port={flower_port}"],
            cwd=root,
            env={**inherited, **code_of(root), **environment},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            wait_until(lambda: _is_ready(var_dir, process))
            running = cls(var_dir, port, flower_port, process)
            with running.client:
                yield running
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(PATIENCE_S)
            output.close()

    @property
    def state(self) -> StackState:
        """What the supervisor last wrote."""
        return read_state(self.var_dir)

    def pid(self, name: str) -> int:
        """The process id of one of its processes."""
        found = next(process.pid for process in self.state.processes if process.name == name)
        assert found is not None, f"{name} is not running"
        return found

    def kill(self, name: str, number: int = signal.SIGKILL) -> int:
        """Send a signal to one of its processes; returns the process id."""
        pid = self.pid(name)
        os.kill(pid, number)
        return pid

    def wait_for(self, name: str, *, other_than: int) -> None:
        """Wait until a process was started again and is ready."""
        wait_until(
            lambda: any(p.name == name and p.state == "ready" and p.pid != other_than for p in self.state.processes)
        )

    @contextmanager
    def without(self, name: str) -> Iterator[None]:
        """Stop a server for as long as the block runs: suspended supervision, then kill -9, then a restart."""
        supervisor = psutil.Process(self.process.pid)
        supervisor.suspend()
        pid = self.kill(name)
        with suppress(psutil.NoSuchProcess):
            wait_until(lambda: psutil.Process(pid).status() == psutil.STATUS_ZOMBIE, 10)
        try:
            yield
        finally:
            supervisor.resume()
            self.wait_for(name, other_than=pid)

    def predict(self, model: str, **options: Any) -> httpx.Response:
        """Ask a model; options are httpx's."""
        return self.client.post(f"/v1/models/{model}/predictions", **options)

    def predict_xor(self, a: float = 0, b: float = 1, **options: Any) -> httpx.Response:
        """Ask the smallest model."""
        return self.predict("xor", json={"input": [a, b]}, **options)

    def predict_sample(self, name: str = "sandal-01.png", **options: Any) -> httpx.Response:
        """Ask about one of the sample photos."""
        headers = {"Content-Type": "application/octet-stream", **options.pop("headers", {})}
        return self.predict("fashion", content=(SAMPLES / name).read_bytes(), headers=headers, **options)

    @property
    def flower_auth(self) -> tuple[str, str]:
        """User and password of its Flower."""
        return "admin", (self.var_dir / "flower.password").read_text().strip()

    @property
    def settings(self) -> dict[str, str]:
        """The variables under which its servers are reached."""
        return {name: value or "" for name, value in dotenv_values(self.var_dir / "stack.env").items()}

    def open_database(self) -> Engine:
        """Connect to its Postgres."""
        return create_engine(self.settings["TORCHQUEUE_DATABASE_URL"], poolclass=NullPool)


def code_of(root: Path) -> dict[str, str]:
    """Variables under which Python runs the code of a tree, whatever is installed."""
    return {} if root == ROOT else {"PYTHONPATH": str(root)}


def extract_revision(revision: str, folder: Path) -> Path:
    """Write the tree of a revision of this repository into a folder; returns the folder.

    Raises:
        LookupError: The history does not hold it, with what git says.
    """
    done = subprocess.run(["git", "archive", revision], cwd=ROOT, capture_output=True, check=False)
    if done.returncode:
        raise LookupError(done.stderr.decode().strip())
    with tarfile.open(fileobj=BytesIO(done.stdout)) as packed:
        packed.extractall(folder, filter="data")
    return folder


def write_small_models(folder: Path, **changes: Any) -> Path:
    """Make a folder with the smallest model alone, so that a worker is ready within a second; returns the folder.

    Args:
        folder: Is left as it is where it exists.
        changes: Of the model's description.
    """
    if not folder.exists():
        shutil.copytree(BUNDLED / "xor", folder / "xor")
        described = folder / "xor" / "model.json"
        described.write_text(json.dumps({**json.loads(described.read_text()), **changes}))
    return folder


def sample_labels() -> dict[str, str]:
    """The true label of each sample photo."""
    labels: dict[str, str] = json.loads((SAMPLES / "labels.json").read_text())
    return labels


def wait_until(condition: Callable[[], bool], timeout_s: float = PATIENCE_S) -> None:
    """Wait until a condition holds, and fail the test when it does not in time."""
    until = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < until, f"not within {timeout_s} s"
        time.sleep(0.05)


def _is_ready(var_dir: Path, process: "subprocess.Popen[bytes]") -> bool:
    assert process.poll() is None, (var_dir / "up.log").read_text()
    if not (var_dir / "stack.json").exists() or not read_state(var_dir).ready:
        return False
    return all(each.state == "ready" for each in read_state(var_dir).processes)
