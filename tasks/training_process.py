"""A training's process as its worker sees it: started, listened to, killed. Loads no torch."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import IO, Any, Self

import psutil

#: Inference on the same machine has the right of way.
NICENESS = 10

#: As `ml.job` writes it, which this process must not import: it would load torch.
EVENT_MARK = "\x1e"

#: How long a killed process may take to be gone.
KILL_TIMEOUT_S = 5.0

#: What pins a worker to one GPU; several processes need them all.
PINNED = "CUDA_VISIBLE_DEVICES"


class TrainingProcess:
    """`python -m ml.job FOLDER`, or as many of it as train together, below a launcher.

    Its standard input is a pipe that it watches: whatever becomes of this process, it does not outlive it. Nor do the
    processes below a launcher outlive that one.

    Args:
        folder: Of the job.
        threads: CPU threads inside one operation.
        processes: How many train together, by `torchrun`.
    """

    def __init__(self, folder: Path, *, threads: int, processes: int = 1) -> None:
        self._lines: SimpleQueue[str | None] = SimpleQueue()
        self._process = subprocess.Popen(
            [*_command(processes), str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=_environment(threads, processes),
            text=True,
            errors="replace",
            start_new_session=True,
        )
        # Made while the number is certainly this process's: later it could be another's.
        self._root = psutil.Process(self._process.pid)
        self._reader = threading.Thread(target=self._read, name="training-output", daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.kill()

    @property
    def pid(self) -> int:
        """Of the process, or of the launcher of several."""
        return self._process.pid

    def read(self, timeout_s: float) -> tuple[str | Mapping[str, Any] | None, bool]:
        """Wait for the next line.

        Returns:
            A line of the log, an event, or None when nothing came in time; and whether the output is over.
        """
        try:
            line = self._lines.get(timeout=timeout_s)
        except Empty:
            return None, False
        if line is None:
            return None, True
        if line.startswith(EVENT_MARK):
            event: Mapping[str, Any] = json.loads(line.removeprefix(EVENT_MARK))
            return event, False
        return line, False

    def wait(self) -> int:
        """Wait for the end; returns the exit status, below 0 when a signal ended it."""
        return self._process.wait(KILL_TIMEOUT_S)

    def kill(self) -> None:
        """End it with all that it started, at once; its memory is free when this returns."""
        family = self._hold()
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        for process in family:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self._process.wait(KILL_TIMEOUT_S)
        # Its hang-up ends those whose launcher died before them, which nobody finds: they would hold the output open.
        self._close(self._process.stdin)
        self._reader.join()
        self._close(self._process.stdout)

    def _hold(self) -> list[psutil.Process]:
        """Keep it from starting more; returns what it started. `torchrun` gives each process a session of its own."""
        with suppress(psutil.NoSuchProcess):
            self._root.suspend()
            return self._root.children(recursive=True)
        return []

    @staticmethod
    def _close(pipe: IO[str] | None) -> None:
        assert pipe is not None, "it was asked for"
        pipe.close()

    def _read(self) -> None:
        assert self._process.stdout is not None, "it was asked for"
        for line in self._process.stdout:
            self._lines.put(line.rstrip("\n"))
        self._lines.put(None)


def _command(processes: int) -> list[str]:
    nice = ["nice", f"-n{NICENESS}"]
    if processes == 1:
        return [*nice, sys.executable, "-m", "ml.job"]
    launcher = ["ml.launch", "--standalone", f"--nproc-per-node={processes}"]
    return [*nice, sys.executable, "-m", *launcher, "-m", "ml.job"]


def _environment(threads: int, processes: int) -> dict[str, str]:
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONUNBUFFERED": "1"}
    # cuBLAS repeats itself bit by bit only with a workspace of a fixed size.
    environment["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
    if processes > 1 and environment.get(PINNED):
        del environment[PINNED]
    return environment
