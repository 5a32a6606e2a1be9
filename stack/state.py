"""What a running stack tells other commands: a file in its `var` folder, and a lock that dies with it."""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psutil

from stack.errors import AlreadyRunningError, NotRunningError

STATE_FILE = "stack.json"
LOCK_FILE = "stack.lock"
ENV_FILE = "stack.env"
ADMIN_KEY_FILE = "admin.key"


@dataclass(frozen=True, kw_only=True)
class ProcessState:
    """One process as the supervisor last saw it."""

    name: str
    state: str
    pid: int | None
    created_at: float | None
    restarts: int
    url: str
    log: str


@dataclass(frozen=True, kw_only=True)
class StackState:
    """The whole stack as the supervisor last saw it."""

    pid: int
    url: str
    ready: bool
    processes: list[ProcessState] = field(default_factory=list)

    def write(self, var_dir: Path) -> None:
        """Replace the file in one step, so that a reader never sees half of it."""
        draft = var_dir / f"{STATE_FILE}.new"
        draft.write_text(json.dumps(asdict(self), indent=2))
        draft.replace(var_dir / STATE_FILE)


def read_state(var_dir: Path) -> StackState:
    """Read what a stack wrote.

    Raises:
        NotRunningError: No stack ever ran on this folder, or it was stopped.
    """
    try:
        fields: dict[str, Any] = json.loads((var_dir / STATE_FILE).read_text())
    except FileNotFoundError as error:
        raise NotRunningError(f"no stack runs on {var_dir}; `torchqueue up` starts one") from error
    processes = [ProcessState(**process) for process in fields.pop("processes")]
    return StackState(**fields, processes=processes)


def forget_state(var_dir: Path) -> None:
    """Remove the file of a stack that has ended."""
    (var_dir / STATE_FILE).unlink(missing_ok=True)


@contextmanager
def hold_lock(var_dir: Path) -> Iterator[None]:
    """Be the only stack on this folder. The kernel drops the lock when the process ends, however it ends.

    Raises:
        AlreadyRunningError: Another stack holds it.
    """
    with (var_dir / LOCK_FILE).open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise AlreadyRunningError(f"a stack already runs on {var_dir}; `torchqueue down` stops it") from error
        # A child must not inherit it, or it would hold the folder after our death.
        os.set_inheritable(lock.fileno(), False)
        yield


def is_locked(var_dir: Path) -> bool:
    """Whether a stack runs on this folder."""
    try:
        with hold_lock(var_dir):
            return False
    except (AlreadyRunningError, FileNotFoundError) as error:
        return isinstance(error, AlreadyRunningError)


def leftovers(state: StackState) -> list[psutil.Process]:
    """Find processes of a stack that was killed: same id and same start time, so never somebody else's."""
    found = []
    for process in state.processes:
        if process.pid is None or not psutil.pid_exists(process.pid):
            continue
        candidate = psutil.Process(process.pid)
        if candidate.create_time() == process.created_at:
            found.append(candidate)
    return found
