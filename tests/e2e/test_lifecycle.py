"""A stack's life as its operator drives it: up, again, in the way, down."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import psutil
import pytest
from sqlalchemy.orm import Session

from ml.machine import host_kind, torch_version
from stack.embedded import free_port
from stack.state import leftovers, read_state
from store.tables import registry  # noqa: F401 - mappers name each other
from store.tunings import store_layout
from tests.running import PATIENCE_S, ROOT, RunningStack, wait_until, write_small_models

# The promise for a drain, and a command's patience beyond it.
COMMAND_S = 120.0


def torchqueue(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run the command as an operator does, without the variables of this test session."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TORCHQUEUE_")}
    return subprocess.run(
        [sys.executable, "-m", "stack", *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=COMMAND_S,
        check=False,
    )


def test_a_stack_grows_to_what_was_measured_and_remembers_it_with_its_answers(tmp_path: Path) -> None:
    models = f"--models={write_small_models(tmp_path / 'models')}"
    with RunningStack.start(tmp_path / "var", "--workers=auto", models) as first:
        made = first.predict_xor().json()
        assert "cpu:1" not in devices(first)
        # Whether more are faster depends on the machine, so the test says what a worker would have found.
        with Session(first.open_database()) as session, session.begin():
            store_layout(
                session,
                host_kind=host_kind(),
                torch_version=torch_version(),
                processes=2,
                threads=1,
                figures={"model": "garments", "layouts": []},
            )
        wait_until(lambda: "cpu:1" in devices(first))
    with RunningStack.start(tmp_path / "var", "--workers=auto", models) as second:
        assert second.client.get(f"/v1/predictions/{made['id']}").json() == made
        assert {"cpu:0", "cpu:1"} <= devices(second)


def devices(stack: RunningStack) -> set[str]:
    """The devices of the workers that serve."""
    return {worker["device"] for worker in stack.client.get("/v1/workers").json()["data"]}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains_in_order_and_ends_with_0(tmp_path: Path, number: signal.Signals) -> None:
    models = f"--models={write_small_models(tmp_path / 'models')}"
    with RunningStack.start(tmp_path / "var", models) as running:
        children = psutil.Process(running.process.pid).children(recursive=True)
        running.process.send_signal(number)
        assert running.process.wait(PATIENCE_S) == 0
        assert [child for child in children if child.is_running()] == []
        assert not (running.var_dir / "stack.json").exists()


def test_a_detached_stack_answers_until_down_stops_it(tmp_path: Path) -> None:
    var, port = f"--var={tmp_path / 'var'}", free_port()
    started = torchqueue("up", var, f"--port={port}", f"--flower-port={free_port()}", "--detach")
    assert started.returncode == 0, started.stderr
    assert "is a Sandal" in started.stdout
    processes = leftovers(read_state(tmp_path / "var"))
    assert httpx.get(f"http://127.0.0.1:{port}/health/ready").json()["checks"]["workers"] == 1
    assert torchqueue("down", var).returncode == 0
    assert psutil.wait_procs(processes, PATIENCE_S)[1] == []


def test_a_stack_on_a_folder_in_use_is_refused_in_one_line(stack: RunningStack) -> None:
    refused = torchqueue("up", f"--var={stack.var_dir}", f"--port={free_port()}")
    assert refused.returncode == 1
    assert refused.stderr.startswith("Error: a stack already runs on")


def test_a_port_in_use_is_refused_in_one_line(stack: RunningStack, tmp_path: Path) -> None:
    port = stack.url.rpartition(":")[2]
    refused = torchqueue("up", f"--var={tmp_path / 'var'}", f"--port={port}")
    assert refused.returncode == 1
    assert f"Error: port {port} is in use; stop what listens there or choose another with --port" in refused.stderr


def test_status_shows_every_process(stack: RunningStack) -> None:
    shown = torchqueue("status", f"--var={stack.var_dir}")
    assert all(process.name in shown.stdout for process in stack.state.processes)
