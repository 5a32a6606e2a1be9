"""`stack.console` and `stack.announce`: what the command line prints."""

import json
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from sqlalchemy.exc import OperationalError

from ml.errors import DeviceError
from stack.announce import curl_line, print_processes
from stack.console import one_line_errors, print_json, print_table, shown
from stack.errors import NotRunningError
from stack.state import ProcessState, StackState
from store.errors import UnknownModelError

AWAY = OperationalError("SELECT 1", {}, Exception("connection refused\nIs the server running?"))


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (NotRunningError("no stack runs"), "no stack runs"),
        (UnknownModelError("there is no model 'x'"), "there is no model 'x'"),
        (DeviceError("there is no device"), "there is no device"),
        (AWAY, "Postgres does not answer: connection refused; does the stack run?"),
    ],
)
def test_an_expected_error_is_one_line_and_a_failure(error: Exception, line: str) -> None:
    result = CliRunner().invoke(_command_that_raises(error))

    assert (result.exit_code, result.output) == (1, f"Error: {line}\n")


def test_a_fault_of_ours_keeps_its_traceback() -> None:
    result = CliRunner().invoke(_command_that_raises(ZeroDivisionError()))

    assert isinstance(result.exception, ZeroDivisionError)


def test_a_path_is_shown_as_short_as_it_can_be_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    assert shown(tmp_path / "var" / "admin.key") == "var/admin.key"
    assert shown(Path("/elsewhere")) == "/elsewhere"


def test_what_is_not_known_is_a_dash(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["model", "p50"], [("xor", None)])

    assert capsys.readouterr().out.split() == ["model", "p50", "xor", "-"]


def test_a_table_for_a_file_cuts_nothing_off(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["id", "reason"], [("0199b1d0-9a31-7c44-8d0e-52b1f6a7c3d9", "the shop moves " * 20)])

    assert "0199b1d0-9a31-7c44-8d0e-52b1f6a7c3d9  " + "the shop moves " * 20 in capsys.readouterr().out


def test_json_is_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"path": Path("a")})

    assert json.loads(capsys.readouterr().out) == {"path": "a"}


def test_a_line_to_paste_names_the_key_file_not_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    line = curl_line("http://127.0.0.1:8000", tmp_path / "var" / "admin.key")

    assert line.startswith('curl -H "Authorization: Bearer $(cat var/admin.key)"')
    assert line.endswith("http://127.0.0.1:8000/v1/models/fashion/predictions")


def test_the_table_shows_each_process(capsys: pytest.CaptureFixture[str]) -> None:
    process = ProcessState(
        name="web", state="ready", pid=42, created_at=1.0, restarts=0, url="http://127.0.0.1:1", log="web.log"
    )

    print_processes(StackState(pid=1, url="", ready=True, processes=[process]))

    assert capsys.readouterr().out.splitlines()[1].split() == ["web", "ready", "http://127.0.0.1:1", "42"]


def _command_that_raises(error: Exception) -> click.Command:
    @click.command()
    @one_line_errors
    def fail() -> None:
        raise error

    return fail
