"""How a web process hears that it is to leave: first it says so, then it goes on serving, then it ends."""

import mmap
import os
import threading
from collections.abc import Callable
from pathlib import Path

#: Set by `webapp.server` for the processes that it starts: a file of one byte, which is 1 once they are to leave.
FLAG_VARIABLE = "TORCHQUEUE_WEB_DRAIN_FLAG"

#: Set beside it: how long they go on serving after that, in seconds.
GRACE_VARIABLE = "TORCHQUEUE_WEB_GRACE_S"

LOOK_EVERY_S = 0.1

SERVING, LEAVING = b"\0", b"\1"


class DrainFlag:
    """A byte that the server's main process sets and its web processes read: in memory, since every answer looks at it.

    Args:
        path: Of the file; made by `create`.
    """

    def __init__(self, path: Path) -> None:
        with path.open("r+b") as file:
            self._byte = mmap.mmap(file.fileno(), 1)

    @classmethod
    def create(cls, path: Path) -> "DrainFlag":
        """Make the file, not set."""
        path.write_bytes(SERVING)
        return cls(path)

    def set(self) -> None:
        """Tell all processes of this server to leave. A signal handler may call it."""
        self._byte[0:1] = LEAVING

    def is_set(self) -> bool:
        """Whether they are to leave."""
        return self._byte[0] != 0


class Draining:
    """What a web process knows of its end.

    Args:
        flag: None for a process that nobody drains, such as a test's.
        grace_s: How long it goes on serving after the flag was set.
    """

    def __init__(self, flag: DrainFlag | None = None, grace_s: float = 0.0) -> None:
        self._flag = flag
        self._grace_s = grace_s

    @classmethod
    def from_env(cls) -> "Draining":
        """Read what the server's main process has set."""
        path = os.environ.get(FLAG_VARIABLE)
        if path is None:
            return cls()
        return cls(DrainFlag(Path(path)), float(os.environ[GRACE_VARIABLE]))

    def is_on(self) -> bool:
        """Whether this process is to leave."""
        return self._flag is not None and self._flag.is_set()

    def start(self, cut_waits: Callable[[], None]) -> None:
        """Cut the waits for answers short once the grace is over, so that no request outlives the process."""
        if self._flag is not None:
            threading.Thread(target=self._run, args=[cut_waits], name="drain", daemon=True).start()

    def _run(self, cut_waits: Callable[[], None]) -> None:
        pause = threading.Event()
        while not self.is_on():
            pause.wait(LOOK_EVERY_S)
        pause.wait(self._grace_s)
        while True:
            cut_waits()
            pause.wait(LOOK_EVERY_S)
