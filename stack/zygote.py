"""Processes of ours without the price of their imports: forks of one process that has imported what they share.

Importing Flask, Celery and SQLAlchemy takes 1.5 s of processor time, and a stack is ten processes. The zygote
(``stack/zygote_process.py``) does it once; its forks take milliseconds, and share its memory until they write to it.
Torch is left to those who compute: its import starts threads, and who needs no tensors need not carry it.

Each fork is our own child, not the zygote's: the zygote forks twice, and the kernel gives us the orphan. So a zygote
may die at any time: nobody goes with it, and the next birth starts another.
"""

import ctypes
import json
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

PID = struct.Struct("<q")

#: The first answer waits for the zygote's imports.
ANSWER_TIMEOUT_S = 60.0

PROGRAM = "stack.zygote_process"

_PR_SET_CHILD_SUBREAPER = 36


class Zygote:
    """What bears processes, seen from the supervisor; its own process starts at once and imports meanwhile.

    Args:
        log_dir: Takes what the zygote itself says, as `zygote.log`; what it bears has logs of its own.
        environment: Variables that are read at an import, on top of ours.
    """

    def __init__(self, log_dir: Path, environment: Mapping[str, str]) -> None:
        log_dir.mkdir(parents=True, exist_ok=True)
        self._log = log_dir / "zygote.log"
        self._environment = {**os.environ, **environment}
        self._process: subprocess.Popen[bytes] | None = None
        self._adopts = _adopt_orphans()
        if self._adopts:
            self._start()

    @property
    def pid(self) -> int | None:
        """Of the zygote itself; None while there is none."""
        return None if self._process is None else self._process.pid

    def bear(self, module: Sequence[str], environment: Mapping[str, str], output: int) -> psutil.Process:
        """Start a process that leads a session of its own.

        Args:
            module: Its name, whose ``main`` is called, and the arguments.
            environment: All its variables.
            output: Open file that becomes its standard output and error.

        Raises:
            ChildProcessError: There is no zygote, and none can be started.
        """
        if not self._adopts:
            raise ChildProcessError("This system gives orphans to nobody but its first process.")
        if self._process is None or self._process.poll() is not None:
            self.close()
            self._start()
        message = json.dumps({"module": [*module], "environment": {**environment}}).encode()
        try:
            socket.send_fds(self._control, [message], [output])
            return psutil.Process(PID.unpack(self._control.recv(PID.size))[0])
        except (OSError, struct.error, psutil.NoSuchProcess) as error:
            self.close()
            raise ChildProcessError("The zygote did not bear.") from error

    def bury(self, ours: Collection[int | None]) -> None:
        """Take leave of the orphans that have ended: what our children had started, and died before.

        Args:
            ours: Process ids whose ends somebody else asks for.
        """
        # The first that waits to be asked for is looked at; one of ours hides the rest until its turn.
        while self._adopts and (ended := _first_ended()) not in {None, *ours}:
            with suppress(ChildProcessError):
                os.waitpid(ended, 0)  # type: ignore[arg-type]  # None is never among others.

    def close(self) -> None:
        """End the zygote; what it bore lives on."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
            self._control.close()

    def _start(self) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control.settimeout(ANSWER_TIMEOUT_S)
        with theirs, self._log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", PROGRAM, str(theirs.fileno())],
                pass_fds=(theirs.fileno(),),
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )


def _first_ended() -> int | None:
    """Process id of a child that has ended and whose status nobody took; None where there is none."""
    try:
        ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return None
    return None if ended is None else ended.si_pid


def _adopt_orphans() -> bool:
    """Become the parent of all that our descendants leave behind. Returns whether this system can do so."""
    if sys.platform != "linux":
        return False
    return bool(ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0)
