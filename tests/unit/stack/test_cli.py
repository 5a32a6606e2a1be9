"""The `torchqueue` command where no stack runs: what it refuses, in one line."""

import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import structlog
from click.testing import CliRunner, Result

from stack.cli import COMMANDS, main
from stack.embedded import free_port
from stack.state import StackState, hold_lock
from webapp.version import VERSION

NO_STACK = r"Error: no stack runs on .*; `torchqueue up` starts one\n"

KILLED = StackState(pid=2**22 + 1, url="http://127.0.0.1:1", ready=True)


@pytest.fixture(autouse=True)
def _restored(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No variable says where servers are, and what the command configured is undone."""
    for name in ("TORCHQUEUE_DATABASE_URL", "TORCHQUEUE_REDIS_URL", "TORCHQUEUE_OBJECT_URL", "TORCHQUEUE_VAR"):
        monkeypatch.delenv(name, raising=False)
    yield
    structlog.reset_defaults()


def test_the_version_is_told() -> None:
    assert _run("--version").output == f"torchqueue, version {VERSION}\n"


def test_the_openapi_document_needs_no_stack(tmp_path: Path) -> None:
    file = tmp_path / "openapi.json"

    printed = _run("openapi").stdout
    _run("openapi", f"--output={file}")

    assert json.loads(printed)["openapi"].startswith("3.1")
    assert file.read_text() == printed


@pytest.mark.parametrize("name", COMMANDS)
def test_every_listed_command_is_there_and_explained_in_a_line(name: str) -> None:
    command = main.get_command(click.Context(main), name)
    assert command is not None
    assert command.name == name
    assert COMMANDS[name][1] in _run("--help").output.replace("\n" + 15 * " ", " ")


def test_a_command_that_is_not_there_is_refused() -> None:
    assert _run("dance").exit_code == 2


@pytest.mark.parametrize("command", ["down", "status", "logs web"])
def test_a_command_that_needs_a_stack_says_how_to_start_one(tmp_path: Path, command: str) -> None:
    _assert_refused(_run(*command.split(), f"--var={tmp_path}"), NO_STACK)


def test_asking_without_a_stack_says_how_to_start_one(tmp_path: Path) -> None:
    photo = tmp_path / "photo.png"
    photo.touch()

    _assert_refused(_run("predict", f"--var={tmp_path}", str(photo)), NO_STACK)


@pytest.mark.parametrize("command", ["keys list", "keys revoke x", "models list", "migrate", "train xor", "beat"])
def test_a_command_that_needs_a_database_names_the_variable(tmp_path: Path, command: str) -> None:
    _assert_refused(
        _run(*command.split(), f"--var={tmp_path}"), r"Error: .*TORCHQUEUE_DATABASE_URL.*`torchqueue up`.*\n"
    )


def test_a_photo_that_is_not_there_is_named(tmp_path: Path) -> None:
    result = _run("predict", f"--var={tmp_path}", "nowhere.png")

    assert (result.exit_code, "nowhere.png" in result.output) == (2, True)


def test_a_log_of_a_process_that_is_not_there_is_refused_with_those_that_are(tmp_path: Path) -> None:
    KILLED.write(tmp_path)

    _assert_refused(_run("logs", f"--var={tmp_path}", "nope"), r"Error: the stack has no process 'nope'; it has .*\n")


def test_a_stack_that_was_killed_is_not_stopped(tmp_path: Path) -> None:
    KILLED.write(tmp_path)

    _assert_refused(
        _run("down", f"--var={tmp_path}"), r"Error: the stack on .* was killed; the next `torchqueue up` .*\n"
    )


def test_the_status_of_a_stack_that_was_killed_is_that_its_api_is_silent(tmp_path: Path) -> None:
    KILLED.write(tmp_path)

    _assert_refused(_run("status", f"--var={tmp_path}"), r"Error: the API at http://127.0.0.1:1 does not answer: .*\n")


@pytest.mark.parametrize("options", [[], ["--detach"]])
def test_a_second_stack_on_a_folder_is_refused(tmp_path: Path, options: list[str]) -> None:
    with hold_lock(tmp_path):
        _assert_refused(_run("up", f"--var={tmp_path}", *options), r"Error: a stack already runs on .*\n")


@pytest.mark.parametrize("option", ["--port", "--flower-port"])
def test_a_port_in_use_is_refused_with_what_to_do(tmp_path: Path, option: str) -> None:
    ports = {"--port": free_port(), "--flower-port": free_port()}
    with socket.create_server(("127.0.0.1", 0)) as server:
        ports[option] = server.getsockname()[1]
        result = _run("up", f"--var={tmp_path}", *(f"{name}={port}" for name, port in ports.items()))

    _assert_refused(result, rf"Error: port {ports[option]} is in use; .* with {option}\n")


@pytest.mark.parametrize("option", ["--workers=0", "--web-processes=0", "--port=http"])
def test_an_option_that_makes_no_sense_is_refused(tmp_path: Path, option: str) -> None:
    assert _run("up", f"--var={tmp_path}", option).exit_code == 2


def _run(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def _assert_refused(result: Result, line: str) -> None:
    """Check for one line on standard error and a failure."""
    assert (result.exit_code, result.stdout) == (1, "")
    assert re.fullmatch(line, result.stderr), result.stderr
