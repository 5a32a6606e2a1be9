"""One supervised process: its life, its log, its restarts."""

import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import psutil

from stack.service import Service
from stack.zygote import Zygote

#: Restarts wait twice as long each time, from the first to the last of these.
FIRST_BACKOFF_S = 0.25
LAST_BACKOFF_S = 30.0

#: A process that lived so long has recovered: its next death counts as the first.
SETTLED_S = 60.0

# Logs are cut at a start, not while they are written: the file belongs to the child.
LOG_LIMIT_BYTES = 20_000_000


class Child:
    """Starts, watches and stops one process.

    Args:
        service: What to run.
        log_dir: Where its output goes, as `<name>.log`.
        zygote: Bears it, if it is Python of ours; None starts it as any program.
    """

    def __init__(self, service: Service, log_dir: Path, zygote: Zygote | None = None) -> None:
        self.service = service
        self._zygote = zygote
        self.log = log_dir / f"{service.name}.log"
        self.restarts = 0
        self.ready = False
        self.restart_at: float | None = None
        self._backoff_s = FIRST_BACKOFF_S
        self._process: psutil.Process | None = None
        self._started_at = 0.0

    @property
    def pid(self) -> int | None:
        """The running process's id; None while there is none."""
        return None if self._process is None else self._process.pid

    @property
    def state(self) -> str:
        """`ready`, `starting`, `restarting` or `stopped`."""
        if self._process is not None:
            return "ready" if self.ready else "starting"
        return "restarting" if self.restart_at is not None else "stopped"

    def start(self) -> None:
        """Start the process in a group of its own, so that Ctrl-C reaches us alone and we stop it in order."""
        if self.log.exists() and self.log.stat().st_size > LOG_LIMIT_BYTES:
            self.log.replace(self.log.with_suffix(".log.1"))
        self.restart_at = None
        self.ready = False
        self._started_at = time.monotonic()
        with self.log.open("ab") as output:
            self._process = self._bear(output) or self._execute(output)

    def check_ready(self) -> bool:
        """Ask the process whether it serves, until it once did."""
        if self._process is not None and not self.ready:
            self.ready = self.service.is_ready(self._process.pid)
        return self.ready

    def reap(self) -> tuple[int, int] | None:
        """Return the process id and exit status when the process has ended since the last call."""
        if self._process is None:
            return None
        try:
            ended = self._process.pid, self._process.wait(timeout=0)
        except psutil.TimeoutExpired:
            return None
        # What it had started itself must not go on without it, holding its port.
        kill_group(self._process.pid)
        self._process = None
        self.ready = False
        return ended

    def plan_restart(self) -> float:
        """Decide when to start again. Returns the delay in seconds."""
        if time.monotonic() - self._started_at > SETTLED_S:
            self._backoff_s = FIRST_BACKOFF_S
        delay_s = self._backoff_s
        self._backoff_s = min(self._backoff_s * 2, LAST_BACKOFF_S)
        self.restart_at = time.monotonic() + delay_s
        self.restarts += 1
        return delay_s

    def terminate(self) -> None:
        """Ask the process to drain and leave."""
        if self._process is not None:
            # Postgres calls SIGINT its fast shutdown: with SIGTERM it would wait for every client.
            with suppress(psutil.NoSuchProcess):
                self._process.send_signal(signal.SIGINT if self.service.name == "postgres" else signal.SIGTERM)

    def wait(self, timeout_s: float) -> bool:
        """Wait for the end; kill the whole group when the time is up. Returns whether it left by itself."""
        if self._process is None:
            return True
        try:
            self._process.wait(timeout_s)
        except psutil.TimeoutExpired:
            kill_group(self._process.pid)
            self._process.wait()
            return False
        return True

    def _bear(self, output: BinaryIO) -> psutil.Process | None:
        """Let the zygote start it; None where it cannot, or need not."""
        if self._zygote is None or not self.service.module:
            return None
        with suppress(ChildProcessError):
            return self._zygote.bear(self.service.module, self._environment(), output.fileno())
        return None

    def _execute(self, output: BinaryIO) -> psutil.Process:
        return psutil.Popen(
            self.service.argv,
            env=self._environment(),
            user=self.service.user,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def _environment(self) -> dict[str, str]:
        return {**os.environ, **self.service.env}


def kill_group(pid: int) -> None:
    """Kill what is left of the process group that a child leads."""
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


def describe_exit(status: int) -> str:
    """Say how a process ended, e.g. `was killed by SIGKILL`."""
    if status >= 0:
        return f"ended with status {status}"
    return f"was killed by {signal.Signals(-status).name}"
