"""`store.failpoints`: what a process does at a named place, in processes of their own."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from store import failpoints
from store.failpoints import VARIABLE, FailpointError, arm, hit, hit_when_sent

THREE_HITS = """
from store.failpoints import hit
for turn in range(3):
    print(turn, flush=True)
    hit("here")
print("end", flush=True)
"""


@pytest.fixture(autouse=True)
def disarmed() -> Iterator[None]:
    yield
    arm("")


def run(armed: str) -> tuple[int, str]:
    """Come by the place three times; returns the exit status and what was printed."""
    process = subprocess.run(
        [sys.executable, "-c", THREE_HITS], env={VARIABLE: armed}, capture_output=True, text=True, check=False
    )
    return process.returncode, process.stdout.replace("\n", " ").strip()


def test_nothing_happens_where_the_variable_is_not_set() -> None:
    assert run("") == (0, "0 1 2 end")


def test_a_process_kills_itself_when_it_comes_by() -> None:
    assert run("here:kill") == (-signal.SIGKILL, "0")


def test_it_happens_at_the_turn_that_was_named() -> None:
    assert run("here:kill@3") == (-signal.SIGKILL, "0 1 2")


def test_a_process_leaves_without_tidying_up() -> None:
    assert run("here:exit@2") == (1, "0 1")


def test_a_place_that_is_armed_leaves_other_places_alone() -> None:
    assert run("there:kill;elsewhere:exit@2") == (0, "0 1 2 end")


def test_a_text_that_means_nothing_ends_the_process_with_the_reason() -> None:
    status, _ = run("here:explode")

    assert status == 1


def test_a_failpoint_raises_once() -> None:
    arm("here:raise@2")
    hit("here")

    with pytest.raises(FailpointError):
        hit("here")
    hit("here")


def test_a_process_sleeps_as_long_as_was_said(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    arm("here:sleep:2.5@1")

    hit("here")

    assert slept == [2.5]


def test_a_process_stops_until_it_is_told_to_go_on() -> None:
    process = subprocess.Popen([sys.executable, "-c", THREE_HITS], env={VARIABLE: "here:stop"}, stdout=subprocess.PIPE)
    try:
        _, status = os.waitpid(process.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)
    finally:
        process.send_signal(signal.SIGCONT)
    assert process.wait() == 0
    process.communicate()


@pytest.mark.parametrize("text", ["here", "here:kill@soon", "here:sleep", "here:sleep:long", "here:bang"])
def test_a_text_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not name:action@n"):
        arm(text)


def test_what_was_armed_before_is_forgotten() -> None:
    arm("here:raise")
    arm("there:raise")

    hit("here")


def test_a_place_between_sending_and_hearing_is_forgotten_where_it_is_not_armed() -> None:
    arm("there:raise")
    hit_when_sent("here")

    assert getattr(failpoints._sent, "name", None) is None
