"""`stack.child`: one process, its log, and when it is started again."""

import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from stack.child import FIRST_BACKOFF_S, LAST_BACKOFF_S, LOG_LIMIT_BYTES, Child, describe_exit
from stack.service import Service, Stage
from tests.running import PATIENCE_S, wait_until

FOR_EVER = ["sleep", "60"]


@pytest.fixture
def children() -> Iterator[list[Child]]:
    """Ended with the test, whatever it leaves."""
    made: list[Child] = []
    yield made
    for child in made:
        child.wait(0)


@pytest.fixture
def make_child(children: list[Child], tmp_path: Path) -> "MakeChild":
    return MakeChild(children, tmp_path)


class MakeChild:
    """Makes children whose logs lie in one folder."""

    def __init__(self, children: list[Child], log_dir: Path) -> None:
        self._children = children
        self._log_dir = log_dir

    def __call__(self, *argv: str, **changes: object) -> Child:
        service = Service(name="one", argv=list(argv), stage=Stage.WORKERS, **changes)  # type: ignore[arg-type]
        self._children.append(Child(service, self._log_dir))
        return self._children[-1]


@pytest.mark.parametrize(
    ("status", "sentence"),
    [
        (0, "ended with status 0"),
        (3, "ended with status 3"),
        (-9, "was killed by SIGKILL"),
        (-15, "was killed by SIGTERM"),
    ],
)
def test_an_exit_is_described(status: int, sentence: str) -> None:
    assert describe_exit(status) == sentence


def test_a_child_that_was_not_started_is_stopped(make_child: MakeChild) -> None:
    child = make_child(*FOR_EVER)

    assert (child.state, child.pid, child.reap()) == ("stopped", None, None)


def test_a_started_child_runs_in_a_group_of_its_own(make_child: MakeChild) -> None:
    child = make_child(*FOR_EVER)

    child.start()

    assert child.pid is not None
    assert child.state == "starting"
    assert psutil.Process(child.pid).ppid() == psutil.Process().pid
    assert child.reap() is None


def test_a_child_is_ready_once_it_serves(make_child: MakeChild) -> None:
    answers = iter([False, True])
    child = make_child(*FOR_EVER, is_ready=lambda _pid: next(answers))
    child.start()

    assert [child.check_ready() for _ in range(3)] == [False, True, True]
    assert child.state == "ready"


def test_readiness_is_asked_of_the_process_itself(make_child: MakeChild) -> None:
    asked: list[int] = []
    child = make_child(*FOR_EVER, is_ready=lambda pid: bool(asked.append(pid)))  # type: ignore[func-returns-value]
    child.start()

    child.check_ready()

    assert asked == [child.pid]


def test_the_output_of_a_child_goes_to_its_log(make_child: MakeChild) -> None:
    child = make_child("sh", "-c", "echo out; echo err >&2")
    child.start()
    wait_until(lambda: child.reap() is not None)

    assert child.log.read_text() == "out\nerr\n"
    assert child.log.name == "one.log"


def test_the_variables_of_a_service_are_added_to_ours(make_child: MakeChild, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OURS", "1")
    child = make_child("sh", "-c", "echo $OURS $THEIRS", env={"THEIRS": "2"})
    child.start()
    wait_until(lambda: child.reap() is not None)

    assert child.log.read_text() == "1 2\n"


def test_a_log_that_grew_too_long_is_put_aside_at_a_start(make_child: MakeChild) -> None:
    child = make_child("true")
    child.log.write_bytes(bytes(LOG_LIMIT_BYTES + 1))

    child.start()

    assert child.log.stat().st_size == 0
    assert child.log.with_suffix(".log.1").stat().st_size == LOG_LIMIT_BYTES + 1


def test_an_end_is_told_once_with_its_status(make_child: MakeChild) -> None:
    child = make_child("sh", "-c", "exit 3")
    child.start()
    pid = child.pid
    ends: list[tuple[int, int] | None] = []

    wait_until(lambda: bool(ends.append(child.reap()) or ends[-1]))  # type: ignore[func-returns-value]

    assert (ends[-1], child.reap(), child.pid) == ((pid, 3), None, None)


def test_what_a_dead_child_had_started_is_ended_with_it(make_child: MakeChild, tmp_path: Path) -> None:
    grandchild = tmp_path / "grandchild"
    child = make_child("sh", "-c", f"sleep 60 & echo $! > {grandchild}; exit 1")
    child.start()

    wait_until(lambda: child.reap() is not None)

    pid = int(grandchild.read_text())
    wait_until(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)


def test_restarts_wait_twice_as_long_each_time_up_to_a_limit(make_child: MakeChild) -> None:
    child = make_child("true")
    child.start()

    delays = [child.plan_restart() for _ in range(10)]

    assert delays[:3] == [FIRST_BACKOFF_S, 2 * FIRST_BACKOFF_S, 4 * FIRST_BACKOFF_S]
    assert delays[-1] == LAST_BACKOFF_S
    assert child.restarts == 10


def test_a_child_that_lived_long_is_started_again_at_once(
    make_child: MakeChild, monkeypatch: pytest.MonkeyPatch
) -> None:
    child = make_child("true")
    child.start()
    for _ in range(5):
        child.plan_restart()
    monkeypatch.setattr("stack.child.SETTLED_S", 0.0)

    assert child.plan_restart() == FIRST_BACKOFF_S


def test_a_child_that_is_to_be_started_again_says_so(make_child: MakeChild) -> None:
    child = make_child("false")
    child.start()
    wait_until(lambda: child.reap() is not None)

    child.plan_restart()

    assert child.state == "restarting"


def test_a_child_leaves_when_it_is_asked_to(make_child: MakeChild) -> None:
    child = make_child(*FOR_EVER)
    child.start()

    child.terminate()

    assert child.wait(PATIENCE_S) is True


def test_a_child_that_does_not_leave_is_killed(make_child: MakeChild) -> None:
    child = make_child("sh", "-c", "trap '' TERM; echo trapped; while :; do sleep 0.1; done")
    child.start()
    wait_until(lambda: "trapped" in child.log.read_text())

    child.terminate()

    assert child.wait(0.1) is False


@pytest.mark.usefixtures("make_child")
def test_postgres_is_asked_for_its_fast_shutdown(tmp_path: Path) -> None:
    program = """
import signal, sys, time
signal.signal(signal.SIGINT, lambda *_: sys.exit(7))
print('on', flush=True)
time.sleep(60)
"""
    child = Child(Service(name="postgres", argv=[sys.executable, "-c", program], stage=Stage.SERVERS), tmp_path)
    child.start()
    wait_until(lambda: "on" in child.log.read_text())

    child.terminate()
    child.wait(PATIENCE_S)

    ended = child.reap()
    assert ended is not None
    assert ended[1] == 7


def test_stopping_what_does_not_run_is_fine(make_child: MakeChild) -> None:
    child = make_child("true")

    child.terminate()

    assert child.wait(0) is True
