"""Keeps the processes of one machine running: starts them in order, restarts what dies, stops in reverse order."""

import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import groupby
from pathlib import Path
from queue import Empty, SimpleQueue
from types import FrameType

import psutil

from stack.child import Child, describe_exit
from stack.errors import StartupError
from stack.service import Service
from stack.state import ProcessState, StackState
from stack.zygote import Zygote

# A death wakes the loop at once; without one it looks at readiness and restarts this often.
TICK_S = 0.1

START_TIMEOUT_S = 120.0

Say = Callable[[str], None]


class Supervisor:
    """Runs services until told to stop.

    Args:
        var_dir: Where the state is written; logs go to its `log` folder.
        say: Tells the operator what happened, one line each.
        zygote: Bears those that are Python of ours; None starts each anew.

    Attributes:
        on_death: Called with the id of a dead process that held claims, before the restart.
        newcomers: Called every tick; what it returns is started too.
    """

    def __init__(self, var_dir: Path, say: Say, zygote: Zygote | None = None) -> None:
        self._zygote = zygote
        self._var_dir = var_dir
        self._log_dir = var_dir / "log"
        self._log_dir.mkdir(parents=True, exist_ok=True)
        self._say = say
        self.on_death: Callable[[int], None] = lambda _pid: None
        self.newcomers: Callable[[], Sequence[Service]] = lambda: ()
        self._children: list[Child] = []
        self._stopping = False
        # Signal handlers put into it: unlike an event's lock, it may be entered again by the thread that it interrupts.
        self._signals: SimpleQueue[int] = SimpleQueue()
        self._url = ""
        self._ready = False

    def install_signal_handlers(self) -> None:
        """Drain on SIGTERM and Ctrl-C; notice a dead child at once."""
        signal.signal(signal.SIGTERM, self._stop)
        signal.signal(signal.SIGINT, self._stop)
        signal.signal(signal.SIGCHLD, self._wake)

    @property
    def stopping(self) -> bool:
        """Whether somebody asked to stop."""
        return self._stopping

    def start(self, services: Sequence[Service]) -> None:
        """Start services, all at once, and wait until each is ready.

        Raises:
            StartupError: One ended, or was not ready in time; the message names its log.
        """
        started = self._start(services)
        until = time.monotonic() + START_TIMEOUT_S
        while not _all_ready(started) and not self.stopping:
            self._refuse_failures(started, timed_out=time.monotonic() > until)
            self._publish()
            self._rest()
        self._publish()

    def launch(self, services: Sequence[Service]) -> None:
        """Start services and go on; `run` sees to it that they become ready."""
        self._start(services)
        self._publish()

    def announce(self, url: str) -> None:
        """Tell other commands where the API is and that all is ready."""
        self._url, self._ready = url, True
        self._publish()

    def run(self) -> None:
        """Watch until told to stop."""
        while not self.stopping:
            changed = [self._tend(child) for child in self._children]
            if any(changed):
                self._publish()
            if services := self.newcomers():
                self.launch(services)
            if self._zygote is not None:
                self._zygote.bury({child.pid for child in self._children})
            self._rest()

    def stop(self) -> None:
        """Stop everything, the last stage first; a stage's processes drain side by side."""
        self._ready = False
        by_stage = sorted(self._children, key=lambda child: child.service.stage, reverse=True)
        for _stage, members in groupby(by_stage, key=lambda child: child.service.stage):
            self._stop_together(list(members))
        self._children.clear()

    def _start(self, services: Sequence[Service]) -> list[Child]:
        started = [Child(service, self._log_dir, self._zygote) for service in services]
        self._children += started
        for child in started:
            child.start()
        return started

    def _stop_together(self, children: Sequence[Child]) -> None:
        for child in children:
            child.terminate()
        for child in children:
            if not child.wait(child.service.stop_timeout_s):
                self._say(
                    f"{child.service.name} did not leave within {child.service.stop_timeout_s:.0f} s and was killed"
                )

    def _tend(self, child: Child) -> bool:
        """Look after one child. Returns whether anything changed."""
        ended = child.reap()
        if ended is not None:
            pid, status = ended
            if child.service.holds_claims:
                self.on_death(pid)
            delay_s = child.plan_restart()
            self._say(
                f"{child.service.name} {describe_exit(status)}; starting it again in {delay_s:g} s (log: {child.log})"
            )
            return True
        if child.restart_at is not None and time.monotonic() >= child.restart_at:
            child.start()
            return True
        return not child.ready and child.check_ready()

    def _refuse_failures(self, started: Sequence[Child], *, timed_out: bool) -> None:
        for child in started:
            ended = child.reap()
            if ended is not None:
                raise StartupError(
                    f"{child.service.name} {describe_exit(ended[1])} at its start:\n{_last_lines(child.log)}"
                )
            if timed_out and not child.ready:
                raise StartupError(
                    f"{child.service.name} was not ready within {START_TIMEOUT_S:.0f} s; see {child.log}"
                )

    def _publish(self) -> None:
        StackState(
            pid=psutil.Process().pid,
            url=self._url,
            ready=self._ready,
            processes=[_describe(child) for child in self._children],
        ).write(self._var_dir)

    def _rest(self) -> None:
        """Wait for a signal, or for the next tick."""
        with suppress(Empty):
            self._signals.get(timeout=TICK_S)

    def _stop(self, number: int, _frame: FrameType | None) -> None:
        self._stopping = True
        self._signals.put(number)

    def _wake(self, number: int, _frame: FrameType | None) -> None:
        self._signals.put(number)


def _all_ready(children: Sequence[Child]) -> bool:
    # Ask each, also behind one that is not ready yet: what is asked for may take its time.
    answers = [child.check_ready() for child in children]
    return all(answers)


def _describe(child: Child) -> ProcessState:
    try:
        created_at = None if child.pid is None else psutil.Process(child.pid).create_time()
    except psutil.NoSuchProcess:
        created_at = None
    return ProcessState(
        name=child.service.name,
        state=child.state,
        pid=child.pid,
        created_at=created_at,
        restarts=child.restarts,
        url=child.service.url,
        log=str(child.log),
    )


def _last_lines(log: Path, count: int = 5) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()[-count:]
    return "\n".join(f"  {line}" for line in [*lines, f"(whole log: {log})"])
