"""`stack.zygote`: real forks of a real zygote, which are children of this process."""

import ctypes
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from stack import zygote as zygote_module
from stack.child import Child
from stack.service import Service, Stage
from stack.zygote import Zygote
from tests.running import wait_until

MODULE = "tests.unit.stack.born"


@pytest.fixture(scope="module")
def zygote(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zygote]:
    """One for all: its imports take seconds. This process adopts orphans while it lives."""
    made = Zygote(tmp_path_factory.mktemp("zygote"), {})
    yield made
    made.close()
    ctypes.CDLL(None).prctl(zygote_module._PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


class Said:
    """What those who were born in a test said."""

    def __init__(self, zygote: Zygote, log: Path) -> None:
        self._zygote, self._log = zygote, log

    def bear(self, order: str) -> psutil.Process:
        with self._log.open("ab") as output:
            return self._zygote.bear([MODULE, order], {"ONLY": "1"}, output.fileno())

    def end(self, order: str) -> int | None:
        return self.bear(order).wait(timeout=30)

    def lines(self) -> list[str]:
        return self._log.read_text().splitlines()

    def told(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lines() if line.startswith("{")]


@pytest.fixture
def said(zygote: Zygote, tmp_path: Path) -> Said:
    return Said(zygote, tmp_path / "log")


def test_what_is_born_is_our_child_and_leads_a_session_of_its_own(said: Said) -> None:
    process = said.bear("tell")

    assert process.wait(timeout=30) == 0
    [told] = said.told()
    assert (told["parent"], told["session"]) == (os.getpid(), process.pid)


def test_it_runs_its_module_with_its_arguments_and_variables_alone(said: Said) -> None:
    assert said.end("tell") == 0

    [told] = said.told()
    assert (told["argv"], told["environment"]) == ([MODULE, "tell"], {"ONLY": "1"})


def test_it_holds_no_file_but_its_own(said: Said) -> None:
    assert said.end("tell") == 0

    # Standard input, output and error, and the folder that is being listed.
    assert said.told()[0]["files"] == 4


def test_it_carries_no_torch(said: Said) -> None:
    assert said.end("tell") == 0

    assert said.told()[0]["torch"] is False


def test_no_two_draw_the_same_numbers(said: Said) -> None:
    for _ in range(3):
        assert said.end("tell") == 0

    drawn = [number for told in said.told() for number in told["drawn"]]
    assert len(set(drawn)) == 6


def test_it_is_listed_by_its_own_name(said: Said) -> None:
    process = said.bear("stay")
    try:
        wait_until(lambda: " ".join(process.cmdline()).strip().endswith(f"-m {MODULE} stay"))
    finally:
        process.kill()
        assert process.wait(timeout=30) == -9


@pytest.mark.parametrize(("order", "status"), [("tell", 0), ("exit", 3), ("fail", 1)])
def test_it_ends_as_any_program_does(said: Said, order: str, status: int) -> None:
    assert said.end(order) == status

    assert "at its end" in said.lines()
    assert ("ValueError: no good" in said.lines()) is (order == "fail")


def test_it_outlives_the_zygote_and_the_next_has_another(zygote: Zygote, said: Said) -> None:
    survivor = said.bear("stay")
    first = zygote.pid
    assert first is not None
    psutil.Process(first).kill()

    wait_until(lambda: psutil.Process(first).status() == psutil.STATUS_ZOMBIE)
    assert said.end("tell") == 0
    assert zygote.pid not in {None, first}
    assert survivor.is_running()
    survivor.kill()
    assert survivor.wait(timeout=30) == -9


def test_orphans_that_have_ended_are_taken_leave_of_and_our_own_are_not(zygote: Zygote, said: Said) -> None:
    # The programs of this process that wait for nobody would hide them.
    running = {child.pid for child in psutil.Process().children()}
    assert said.end("leave") == 0
    orphan = psutil.Process(int(said.lines()[0]))
    assert orphan.ppid() == os.getpid()
    wait_until(lambda: orphan.status() == psutil.STATUS_ZOMBIE)
    ours = subprocess.Popen(["true"])

    def is_gone() -> bool:
        zygote.bury({ours.pid, *running})
        return not psutil.pid_exists(orphan.pid)

    wait_until(is_gone)
    assert ours.wait(30) == 0


def test_a_zygote_that_cannot_start_is_told(zygote: Zygote, said: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    zygote.close()
    monkeypatch.setattr(zygote_module, "PROGRAM", "no.such.module")

    with pytest.raises(ChildProcessError):
        said.bear("tell")


def test_without_one_a_child_starts_as_any_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zygote_module, "_adopt_orphans", lambda: False)
    service = Service(name="one", argv=[sys.executable, "-m", MODULE, "exit"], stage=Stage.WORKERS)
    child = Child(service, tmp_path, Zygote(tmp_path, {}))

    child.start()

    ends: list[tuple[int, int | None] | None] = []
    wait_until(lambda: bool(ends.append(child.reap()) or ends[-1]))  # type: ignore[func-returns-value]
    assert ends[-1] is not None
    assert ends[-1][1] == 3


def test_a_child_of_ours_is_borne_and_its_end_is_told(zygote: Zygote, tmp_path: Path) -> None:
    service = Service(name="one", argv=[sys.executable, "-m", MODULE, "tell"], stage=Stage.WORKERS, env={"MINE": "1"})
    child = Child(service, tmp_path, zygote)

    child.start()

    pid = child.pid
    ends: list[tuple[int, int | None] | None] = []
    wait_until(lambda: bool(ends.append(child.reap()) or ends[-1]))  # type: ignore[func-returns-value]
    told = json.loads(child.log.read_text().splitlines()[0])
    assert (ends[-1], told["environment"]["MINE"]) == ((pid, 0), "1")
    assert psutil.Process(zygote.pid).is_running()
