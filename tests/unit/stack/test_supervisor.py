"""`stack.supervisor`: order, restarts, and an end without anything left."""

import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from stack.errors import StartupError
from stack.service import Service, Stage
from stack.state import ProcessState, read_state
from stack.supervisor import Supervisor
from tests.running import wait_until

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)


class Said:
    """What the operator is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def __call__(self, line: str) -> None:
        self.lines.append(line)


@pytest.fixture
def said() -> Said:
    return Said()


@pytest.fixture
def supervisor(tmp_path: Path, said: Said) -> Iterator[Supervisor]:
    """A supervisor that hears signals, in this process; both are as before at the end."""
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    supervisor = Supervisor(tmp_path, said)
    supervisor.install_signal_handlers()
    yield supervisor
    supervisor.stop()
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture
def see(tmp_path: Path) -> "See":
    return See(tmp_path)


class See:
    """Reads what the supervisor wrote of one process."""

    def __init__(self, var_dir: Path) -> None:
        self._var_dir = var_dir

    def __call__(self, name: str) -> ProcessState:
        [found] = [process for process in read_state(self._var_dir).processes if process.name == name]
        return found

    def count(self) -> int:
        """How many there are."""
        return len(read_state(self._var_dir).processes)

    def pid(self, name: str) -> int:
        """The process id of one that runs."""
        pid = self(name).pid
        assert pid is not None
        return pid

    def kill(self, name: str) -> None:
        """Kill one, and wait until another process took its place."""
        old_pid = self.pid(name)
        os.kill(old_pid, signal.SIGKILL)
        wait_until(lambda: self(name).pid not in {None, old_pid} and self(name).state == "ready")


def make(name: str, script: str = "exec sleep 60", stage: Stage = Stage.WORKERS, **changes: object) -> Service:
    """A service that runs a line of shell."""
    return Service(name=name, argv=["sh", "-c", script], stage=stage, **changes)  # type: ignore[arg-type]


def run_while(supervisor: Supervisor, action: Callable[[], object]) -> None:
    """Run the supervisor while another thread acts, until the operator's signal."""

    def act_and_stop() -> None:
        try:
            action()
        finally:
            os.kill(os.getpid(), signal.SIGTERM)

    with ThreadPoolExecutor(1) as pool:
        acting = pool.submit(act_and_stop)
        supervisor.run()
        acting.result()


def test_services_are_started_together_and_waited_for(supervisor: Supervisor, see: See) -> None:
    answers = iter([False, False, True])

    supervisor.start([make("slow", is_ready=lambda _pid: next(answers)), make("quick")])

    assert (see("slow").state, see("quick").state) == ("ready", "ready")


def test_the_state_tells_each_process(supervisor: Supervisor, see: See, tmp_path: Path) -> None:
    supervisor.start([make("one", url="http://127.0.0.1:1")])

    found = see("one")
    assert (found.url, found.restarts, found.log) == ("http://127.0.0.1:1", 0, str(tmp_path / "log" / "one.log"))
    assert found.created_at == psutil.Process(found.pid).create_time()


def test_an_announcement_tells_where_the_api_is(supervisor: Supervisor, tmp_path: Path) -> None:
    supervisor.announce("http://127.0.0.1:8000")

    state = read_state(tmp_path)
    assert (state.url, state.ready, state.pid) == ("http://127.0.0.1:8000", True, os.getpid())


def test_a_service_that_ends_at_its_start_is_told_with_its_last_words(supervisor: Supervisor, tmp_path: Path) -> None:
    words = "for n in 1 2 3 4 5 6 7; do echo word $n; done; exit 3"

    with pytest.raises(StartupError) as refusal:
        supervisor.start([make("broken", words, is_ready=lambda _pid: False)])

    lines = str(refusal.value).splitlines()
    assert lines[0] == "broken ended with status 3 at its start:"
    assert lines[1:6] == [f"  word {n}" for n in range(3, 8)]
    assert lines[6] == f"  (whole log: {tmp_path / 'log' / 'broken.log'})"


def test_a_service_that_never_serves_is_told_with_its_log(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stack.supervisor.START_TIMEOUT_S", 0.2)

    with pytest.raises(StartupError, match=r"deaf was not ready within 0 s; see .*deaf.log"):
        supervisor.start([make("deaf", is_ready=lambda _pid: False)])


def test_a_service_that_is_killed_is_started_again_and_said_so(supervisor: Supervisor, see: See, said: Said) -> None:
    supervisor.start([make("one")])

    run_while(supervisor, lambda: see.kill("one"))

    assert said.lines == [f"one was killed by SIGKILL; starting it again in 0.25 s (log: {see('one').log})"]
    assert see("one").restarts == 1


def test_the_database_hears_at_once_of_the_death_of_a_process_that_holds_claims(
    supervisor: Supervisor, see: See
) -> None:
    deaths: list[int] = []
    supervisor.on_death = deaths.append
    supervisor.start([make("worker", holds_claims=True), make("web")])
    worker = see.pid("worker")

    def kill_both() -> None:
        for name in ("web", "worker"):
            see.kill(name)

    run_while(supervisor, kill_both)

    assert deaths == [worker]


def test_newcomers_join_those_that_run(supervisor: Supervisor, see: See) -> None:
    supervisor.start([make("one")])
    arrivals = iter([[], [make("other")]])
    supervisor.newcomers = lambda: next(arrivals, [])

    run_while(supervisor, lambda: wait_until(lambda: see.count() == 2 and see("other").state == "ready"))

    assert see("one").restarts == 0


def test_one_death_leaves_the_others_alone(supervisor: Supervisor, see: See) -> None:
    supervisor.start([make("one"), make("other")])
    other = see.pid("other")

    run_while(supervisor, lambda: see.kill("one"))

    assert see.pid("other") == other


def test_stages_are_stopped_in_reverse_order(supervisor: Supervisor, tmp_path: Path) -> None:
    order = tmp_path / "order"
    leave = "trap 'echo {0} >> {1}; exit 0' TERM; echo on > {1}.{0}; while :; do sleep 0.05; done"
    for name, stage in (("workers", Stage.WORKERS), ("servers", Stage.SERVERS), ("web", Stage.WEB)):
        is_ready = (tmp_path / f"order.{name}").exists
        supervisor.start([make(name, leave.format(name, order), stage, is_ready=lambda _pid, ready=is_ready: ready())])

    supervisor.stop()

    assert order.read_text().split() == ["web", "workers", "servers"]


def test_a_service_that_does_not_leave_is_killed_and_said_so(
    supervisor: Supervisor, see: See, said: Said, tmp_path: Path
) -> None:
    trapped = tmp_path / "trapped"
    stubborn = f"trap '' TERM; touch {trapped}; while :; do sleep 0.05; done"
    supervisor.start([make("stubborn", stubborn, stop_timeout_s=0.1, is_ready=lambda _pid: trapped.exists())])
    pid = see.pid("stubborn")

    supervisor.stop()

    assert said.lines == ["stubborn did not leave within 0 s and was killed"]
    assert not psutil.pid_exists(pid)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_watch(supervisor: Supervisor, number: signal.Signals) -> None:
    os.kill(os.getpid(), number)

    supervisor.run()

    assert supervisor.stopping


def test_a_signal_while_services_start_ends_the_wait(supervisor: Supervisor) -> None:
    def stop_while_asked(_pid: int) -> bool:
        os.kill(os.getpid(), signal.SIGTERM)
        return False

    supervisor.start([make("slow", is_ready=stop_while_asked)])

    assert supervisor.stopping
