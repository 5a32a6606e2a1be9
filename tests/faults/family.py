"""The processes that the suite has born to die, with the care that the supervisor takes of its own."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue

from stack.plan import web_command
from store.failpoints import VARIABLE
from tests.running import ROOT

BORN_TIMEOUT_S = 120.0


@dataclass(kw_only=True)
class Relative:
    """One process of the suite.

    Attributes:
        pid: Its process id.
        node: Its Celery node name; empty for what is no worker.
        died_at: Wall clock of its end; None while it lives.
        status: Its exit status, negative for a signal.
    """

    pid: int
    node: str = ""
    died_at: float | None = None
    status: int | None = None
    died: threading.Event = field(default_factory=threading.Event)

    def signal(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)


class Family:
    """Bears processes through the nursery and notes their ends.

    Args:
        environment: Of all of them.
        log_dir: Where their output goes.
        on_death: Called with the process id, as the supervisor calls what gives claims back.
    """

    def __init__(self, environment: Mapping[str, str], log_dir: Path, on_death: Callable[[int], None]) -> None:
        self._environment = dict(environment)
        self._log_dir = log_dir
        self._on_death = on_death
        self._born: SimpleQueue[int] = SimpleQueue()
        self._members: dict[int, Relative] = {}
        self._next_device = 1_000
        with (log_dir / "nursery.log").open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.faults.nursery"],
                cwd=ROOT,
                env={**os.environ, **self._environment, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
            )
        assert self._process.stdout is not None
        self._process.stdout.readline()
        self._thread = threading.Thread(target=self._listen, name="nursery", daemon=True)
        self._thread.start()

    def worker(self, failpoint: str = "", **environment: str) -> Relative:
        """Bear an inference worker on a device of its own."""
        device, self._next_device = self._next_device, self._next_device + 1
        armed = {**environment, VARIABLE: failpoint}
        born = self._bear(["tasks.worker", "inference", f"--device=cpu:{device}"], armed)
        born.node = f"cpu-{device}@{socket.gethostname()}"
        return born

    def maintenance(self, failpoint: str = "") -> Relative:
        """Bear a maintenance worker: it reaps, rings and expires."""
        return self._bear(["tasks.worker", "maintenance"], {VARIABLE: failpoint})

    def delivery(self, failpoint: str = "") -> Relative:
        """Bear a delivery worker: it sends webhooks."""
        return self._bear(["tasks.worker", "delivery"], {VARIABLE: failpoint})

    def beat(self, failpoint: str = "") -> Relative:
        """Bear a beat beside the stack's own."""
        return self._bear(["tasks.beat"], {VARIABLE: failpoint})

    def bury(self, members: list[Relative]) -> None:
        """Kill what is left of some and wait for their ends."""
        for member in members:
            if not member.died.is_set():
                member.signal(signal.SIGKILL)
        for member in members:
            member.died.wait(10)

    def close(self) -> None:
        """Kill all that live, and end the nursery."""
        self.bury([member for member in self._members.values() if not member.died.is_set()])
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(10)
        self._thread.join()
        self._process.stdout.close()

    def _bear(self, argv: list[str], environment: Mapping[str, str]) -> Relative:
        assert self._process.stdin is not None
        asked = {
            "argv": argv,
            "environment": {**self._environment, **environment},
            "log": str(self._log_dir / f"{argv[-1].lstrip('-').replace('=', '-').replace(':', '-')}.log"),
        }
        self._process.stdin.write(json.dumps(asked).encode() + b"\n")
        self._process.stdin.flush()
        pid = self._born.get(timeout=BORN_TIMEOUT_S)
        return self._members[pid]

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            told = json.loads(line)
            if "born" in told:
                self._members[told["born"]] = Relative(pid=told["born"])
                self._born.put(told["born"])
            elif "ended" in told:
                self._bury(self._members[told["ended"]], told["status"])

    def _bury(self, member: Relative, status: int) -> None:
        member.died_at, member.status = time.time(), status
        self._on_death(member.pid)
        member.died.set()


@contextmanager
def web_server(
    port: int, environment: Mapping[str, str], log: Path, failpoint: str, *, grace_s: float = 0.0
) -> Iterator[subprocess.Popen[bytes]]:
    """Run an API of its own beside the stack's; granian bears its process again, with the same failpoint."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            web_command(host="127.0.0.1", port=port, processes=1, grace_s=grace_s),
            cwd=ROOT,
            env={**os.environ, **environment, VARIABLE: failpoint},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
