"""What the supervisor needs to know of one process."""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum


class Stage(IntEnum):
    """Order of starting; stopping goes the other way, so that nobody loses what it leans on while it drains."""

    SERVERS = 0
    OBSERVERS = 1
    WORKERS = 2
    WEB = 3
    BEAT = 4


@dataclass(frozen=True, kw_only=True)
class Service:
    """A process of the stack.

    Attributes:
        name: In the table, the log's name and the argument of `torchqueue logs`.
        argv: Command line; runs in the foreground.
        stage: When it starts and stops.
        is_ready: Called with the process id; whether it serves now. Must not raise.
        env: Variables on top of our own.
        user: System user to run as; None for our own.
        url: Shown in the table.
        stop_timeout_s: How long it may drain before it is killed.
        holds_claims: Whether the database must hear of its death at once.
        essential: Whether the stack serves nobody before it is ready.
    """

    name: str
    argv: list[str]
    stage: Stage
    is_ready: Callable[[int], bool] = lambda _pid: True
    env: Mapping[str, str] = field(default_factory=dict)
    user: str | None = None
    url: str = ""
    stop_timeout_s: float = 5.0
    holds_claims: bool = False
    essential: bool = True

    @property
    def module(self) -> list[str]:
        """Name and arguments of the module that it runs; empty where it is no Python of ours."""
        return self.argv[2:] if self.argv[:2] == [sys.executable, "-m"] else []
