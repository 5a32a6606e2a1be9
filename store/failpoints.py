"""Named places at which a test lets a process die, stop or wait: `hit("worker.after_claim")`.

Between two statements of ours there is always a moment in which a process may be killed. Waiting for luck to find each
of them takes thousands of runs; a name in the code finds it in one. What happens where is read from one variable when
the process starts:

    TORCHQUEUE_FAILPOINT="worker.after_claim:kill@3;web.after_commit:sleep:2.5"

That is `name:action@n`, several divided by semicolons: at the n-th time (the first where none is given) that this
process comes by, it does what the action says, once. Actions are `kill` (SIGKILL to itself), `stop` (SIGSTOP to
itself), `exit` (with status 1, nothing is tidied), `raise` (`FailpointError`) and `sleep:SECONDS`.

In production the variable is not set, and `hit` is one test of a boolean.
"""

import os
import select
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import psycopg2
from psycopg2.extensions import POLL_OK, POLL_READ, POLL_WRITE, set_wait_callback

VARIABLE = "TORCHQUEUE_FAILPOINT"


class FailpointError(RuntimeError):
    """Raised by a failpoint whose action is `raise`; nothing expects it."""


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _stop() -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


def _exit() -> None:
    os._exit(1)


def _raise() -> None:
    raise FailpointError("a failpoint said so")


ACTIONS: dict[str, Callable[[], None]] = {"kill": _kill, "stop": _stop, "exit": _exit, "raise": _raise}


@dataclass(kw_only=True)
class _Failpoint:
    """One armed place. `counter` is advanced by `next`, which no other thread can come between."""

    at: int
    act: Callable[[], None]
    counter: "count[int]" = field(default_factory=lambda: count(1))


_points: dict[str, _Failpoint] = {}
_armed = False
_sent = threading.local()


def hit(name: str) -> None:
    """Say that this process is at a named place. Does nothing unless the place is armed and it is its turn."""
    if _armed:
        _hit(name)


def hit_when_sent(name: str) -> None:
    """Be at a named place as soon as the next statement of this thread is sent and not answered yet.

    A statement that commits by itself leaves no line of ours between its work and its commit, so this is the only
    moment in which the process does not know whether it was done.
    """
    if _armed and name in _points:
        _sent.name = name


def arm(text: str) -> None:
    """Arm the failpoints of a text as `TORCHQUEUE_FAILPOINT` holds it, in place of those before.

    For a process that was forked; every other one is armed at its start.

    Raises:
        ValueError: The text is not of that form.
    """
    global _armed  # noqa: PLW0603 - one boolean of the module is the cheapest test there is.
    points = dict(_parse(part.strip()) for part in text.split(";") if part.strip())
    _points.clear()
    _points.update(points)
    _armed = bool(points)
    set_wait_callback(_wait if _armed else None)


def _parse(part: str) -> tuple[str, _Failpoint]:
    """Read `name:action@n`."""
    name, _, rest = part.partition(":")
    action, _, turn = rest.partition("@")
    verb, _, seconds = action.partition(":")
    try:
        at = int(turn or 1)
        act = _sleeper(float(seconds)) if verb == "sleep" else ACTIONS[verb]
    except (KeyError, ValueError) as error:
        raise ValueError(
            f"{VARIABLE}: {part!r} is not name:action@n with one of kill, stop, exit, raise, sleep:SECONDS"
        ) from error
    return name, _Failpoint(at=at, act=act)


def _sleeper(seconds: float) -> Callable[[], None]:
    return lambda: time.sleep(seconds)


def _hit(name: str) -> None:
    point = _points.get(name)
    if point is not None and next(point.counter) == point.at:
        point.act()


def _wait(connection: Any) -> None:
    """Wait for Postgres as psycopg2 does by itself, and look up once between the question and the answer."""
    while True:
        state = connection.poll()
        if state == POLL_OK:
            return
        if state == POLL_READ:
            name, _sent.name = getattr(_sent, "name", None), None
            if name is not None:
                _hit(name)
            select.select([connection.fileno()], [], [])
        elif state == POLL_WRITE:
            select.select([], [connection.fileno()], [])
        else:
            raise psycopg2.OperationalError(f"a connection in an unknown state, {state}")


arm(os.environ.get(VARIABLE, ""))
