"""A process that has imported all it needs, and forks others like it: those start in milliseconds.

Starting Python and importing an image codec takes a quarter of a second of processor time; a fork of a process that has
done so takes a hundredth of that, and shares its memory until it writes to it. The server itself never sees what a
stranger sent: it only forks, kills and waits for what it forked.

It dies with the thread that started it, and what it forked dies with it. (The one of `multiprocessing` would keep the
environment of its parent, in which stand our passwords.)
"""

import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

PID = struct.Struct("<q")
FORK = b"fork"

#: Most open files that can be handed to one fork.
DESCRIPTORS = 8

#: The first answer waits for the server's imports.
ANSWER_TIMEOUT_S = 60.0

ROOT = Path(__file__).resolve().parent.parent

Fork = Callable[[list[int]], None]
"""What a fork does with the open files that it was handed; its process ends when this returns."""


class ForkServer:
    """One server, seen from the process that started it. Thread safe.

    Args:
        module: Run as a program with two arguments, the number of a socket and our process id, for ``serve``.

    Raises:
        OSError: It cannot be started.
    """

    def __init__(self, module: str) -> None:
        self._talking = threading.Lock()
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control.settimeout(ANSWER_TIMEOUT_S)
        try:
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                [sys.executable, "-P", "-m", module, str(theirs.fileno()), str(os.getpid())],
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                # Nothing of ours: what it does not know, nobody can make it tell.
                env={"PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"},
                # A Ctrl-C in the terminal is for us; our children end when we do.
                start_new_session=True,
            )
        except OSError:
            self._control.close()
            raise
        finally:
            theirs.close()

    @property
    def pid(self) -> int:
        """Of the server itself."""
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        """Whether it can fork still."""
        return self._process.poll() is None

    def fork(self, *descriptors: int) -> int:
        """Start a process that holds these open files.

        Returns:
            Its process id, for ``end``.

        Raises:
            ChildProcessError: The server is gone, or was too slow; it is killed by then, and all that it forked.
        """
        with self._talking:
            return self._ask(FORK, list(descriptors))

    def end(self, pid: int) -> int | None:
        """Kill a process that was forked, and wait until it is gone. Each may be ended once.

        Returns:
            How it ended, as ``subprocess`` tells it; None when the server was gone, and so all its processes.
        """
        with self._talking, suppress(ChildProcessError):
            return self._ask(PID.pack(pid), [])
        return None

    def close(self) -> None:
        """End the server and all that it forked."""
        with self._talking:
            self._kill()

    def _ask(self, question: bytes, descriptors: list[int]) -> int:
        try:
            socket.send_fds(self._control, [question], descriptors)
            return int(PID.unpack(self._control.recv(PID.size))[0])
        except (OSError, struct.error) as error:
            self._kill()
            raise ChildProcessError(f"The fork server ended with {self._process.returncode}.") from error

    def _kill(self) -> None:
        self._process.kill()
        self._process.wait()
        self._control.close()


def serve(control: socket.socket, fork: Fork) -> None:
    """Fork and end processes as the parent asks, until it hangs up. Call it with no other thread running.

    Args:
        control: To the parent.
        fork: What each process does.
    """
    while True:
        question, descriptors, _, _ = socket.recv_fds(control, max(PID.size, len(FORK)), DESCRIPTORS)
        if not question:
            return
        answer = _fork(control, fork, descriptors) if question == FORK else _end(PID.unpack(question)[0])
        control.send(PID.pack(answer))


def _fork(control: socket.socket, fork: Fork, descriptors: list[int]) -> int:
    pid = os.fork()
    if pid == 0:
        _be_forked(control, fork, descriptors)
    for descriptor in descriptors:
        os.close(descriptor)
    return pid


def _be_forked(control: socket.socket, fork: Fork, descriptors: list[int]) -> None:
    # Whatever happens, this process must not go on as a second server.
    status = 1
    try:
        control.close()
        fork(descriptors)
        status = 0
    finally:
        if status:
            traceback.print_exc()
        os._exit(status)


def _end(pid: int) -> int:
    # It cannot be anybody else's: nobody but us takes its number back.
    os.kill(pid, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
