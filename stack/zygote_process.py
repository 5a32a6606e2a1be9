"""The process that others are forks of: `python -m stack.zygote_process FD`, started by ``stack.zygote`` alone.

It opens nothing, starts no thread and reads no setting: what it knows, all others know.
"""

import gc
import json
import os
import socket
import sys
import time
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from setproctitle import setproctitle

from stack.zygote import PID

#: What the processes of a stack import, be it all of them or a single one: what one needs costs the others nothing.
SHARED = (
    "celery.apps.worker",
    "celery.bin.celery",
    "celery.worker.consumer",
    "kombu.transport.redis",
    "tasks.beat",
    "tasks.delivery_worker",
    "tasks.fetch_worker",
    "tasks.flower",
    "tasks.maintenance_worker",
    "tasks.training_worker",
    "tasks.worker",
    "webapp.app",
    "webapp.server",
)

#: Of a question; the environment is most of it.
MESSAGE_BYTES = 262_144

#: A fork looks so often whether it was adopted.
ADOPTION_LOOK_S = 0.001


@dataclass(frozen=True)
class Birth:
    """What a fork is to be.

    Attributes:
        module: Its ``main`` is called.
        arguments: Of its command line.
        environment: All its variables.
        output: Open file for what it says.
    """

    module: str
    arguments: list[str]
    environment: dict[str, str]
    output: int

    @classmethod
    def read(cls, message: bytes, output: int) -> "Birth":
        """Read a question."""
        asked: dict[str, Any] = json.loads(message)
        module, *arguments = asked["module"]
        return cls(module, arguments, asked["environment"], output)

    def live(self) -> None:
        """Be it, as if started by `python -m`."""
        os.setsid()
        os.dup2(self.output, sys.stdout.fileno())
        os.dup2(self.output, sys.stderr.fileno())
        os.close(self.output)
        sys.argv = [self.module, *self.arguments]
        # Before the environment changes: in memory it lies beside what `ps` shows, which is found by it.
        setproctitle(" ".join([sys.executable, "-m", *sys.argv]))
        os.environ.clear()
        os.environ.update(self.environment)
        import_module(self.module).main()


def main() -> None:
    """Import, then fork as asked; whoever is forked lives from here, and ends as any program does."""
    with socket.socket(fileno=int(sys.argv[1])) as control:
        for name in SHARED:
            import_module(name)
        # A collection would write to every object that it looks at, and take each fork its own copy of the page.
        gc.collect()
        gc.freeze()
        birth = serve(control)
    if birth is not None:
        birth.live()


def serve(control: socket.socket) -> Birth | None:
    """Fork as asked until the supervisor hangs up. Call it with no other thread running.

    Returns:
        In each fork what it is to be; None in the zygote, at the end.
    """
    while True:
        message, descriptors, _, _ = socket.recv_fds(control, MESSAGE_BYTES, 1)
        if not message:
            return None
        [output] = descriptors
        pid = fork_away()
        if pid == 0:
            return Birth.read(message, output)
        os.close(output)
        control.send(PID.pack(pid))


def fork_away() -> int:
    """Fork a process that is none of our children, but of whoever adopts orphans.

    Returns:
        Its process id once it is adopted; 0 in the fork itself.
    """
    reading, writing = os.pipe()
    between = os.fork()
    if between == 0:
        parent = os.getpid()
        pid = os.fork()
        if pid:
            os.write(writing, PID.pack(pid))
            os._exit(0)
        os.close(reading)
        os.close(writing)
        while os.getppid() == parent:
            time.sleep(ADOPTION_LOOK_S)
        return 0
    os.waitpid(between, 0)
    os.close(writing)
    with open(reading, "rb") as told:  # noqa: PTH123 - it has no path
        return int(PID.unpack(told.read())[0])


if __name__ == "__main__":
    main()
