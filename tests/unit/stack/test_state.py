"""`stack.state`: what a running stack tells other commands."""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from stack.errors import AlreadyRunningError, NotRunningError
from stack.state import ProcessState, StackState, forget_state, hold_lock, is_locked, leftovers, read_state

PROCESS = ProcessState(
    name="web", state="ready", pid=1, created_at=2.0, restarts=0, url="http://127.0.0.1:1", log="web.log"
)
STATE = StackState(pid=3, url="http://127.0.0.1:1", ready=True, processes=[PROCESS])


def test_what_is_written_is_what_is_read(tmp_path: Path) -> None:
    STATE.write(tmp_path)

    assert read_state(tmp_path) == STATE


def test_writing_leaves_no_draft(tmp_path: Path) -> None:
    STATE.write(tmp_path)

    assert [path.name for path in tmp_path.iterdir()] == ["stack.json"]


@pytest.mark.parametrize("folder", ["", "missing"])
def test_where_no_stack_runs_a_command_says_how_to_start_one(tmp_path: Path, folder: str) -> None:
    with pytest.raises(NotRunningError, match=r"no stack runs on .*`torchqueue up` starts one"):
        read_state(tmp_path / folder)


def test_a_stack_that_ended_is_forgotten(tmp_path: Path) -> None:
    STATE.write(tmp_path)

    for _ in range(2):
        forget_state(tmp_path)

    with pytest.raises(NotRunningError):
        read_state(tmp_path)


def test_a_folder_is_locked_while_a_stack_runs_on_it(tmp_path: Path) -> None:
    with hold_lock(tmp_path):
        assert is_locked(tmp_path)

    assert not is_locked(tmp_path)


def test_a_folder_that_does_not_exist_is_not_locked(tmp_path: Path) -> None:
    assert not is_locked(tmp_path / "missing")


def test_a_second_stack_on_a_folder_is_refused(tmp_path: Path) -> None:
    with (
        hold_lock(tmp_path),
        pytest.raises(AlreadyRunningError, match="`torchqueue down` stops it"),
        hold_lock(tmp_path),
    ):
        pass


def test_a_lock_ends_with_its_process_however_that_ends(tmp_path: Path) -> None:
    program = "import os, sys, pathlib; from stack.state import hold_lock\n"
    program += "with hold_lock(pathlib.Path(sys.argv[1])): os._exit(0)"

    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True)

    assert not is_locked(tmp_path)


def test_what_a_holder_starts_does_not_hold_the_lock(tmp_path: Path) -> None:
    with hold_lock(tmp_path):
        child = subprocess.Popen(["sleep", "60"], close_fds=False)

    assert not is_locked(tmp_path)
    child.kill()
    child.wait()


def test_a_process_that_was_left_behind_is_found(left_behind: psutil.Process) -> None:
    process = replace(PROCESS, pid=left_behind.pid, created_at=left_behind.create_time())

    assert leftovers(replace(STATE, processes=[process])) == [left_behind]


def test_a_process_that_got_the_number_of_another_is_left_alone(left_behind: psutil.Process) -> None:
    process = replace(PROCESS, pid=left_behind.pid, created_at=left_behind.create_time() - 1)

    assert leftovers(replace(STATE, processes=[process])) == []


@pytest.mark.parametrize("pid", [None, 2**22 + 1])
def test_a_process_that_is_gone_is_not_left_behind(pid: int | None) -> None:
    assert leftovers(replace(STATE, processes=[replace(PROCESS, pid=pid)])) == []


@pytest.fixture
def left_behind() -> Iterator[psutil.Process]:
    """A process that runs."""
    process = subprocess.Popen(["sleep", "60"], env=dict(os.environ))
    yield psutil.Process(process.pid)
    process.kill()
    process.wait()
