"""Measuring layouts of worker processes: real ones that compute side by side, in turn with other numbers of them."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from multiprocessing.connection import wait
from typing import Any

from ml.choices import Choice
from ml.devices import CPU, pin_environment
from ml.errors import LayoutError
from ml.layouts import Layout

#: Every layout runs so many times, in turn with the others, for so long each.
ROUNDS = 3
RUN_S = 1.5

#: How often it is asked whether to go on.
CHECK_EVERY_S = 0.1

#: Whoever has work to do goes before processes that only measure.
NICENESS = 10

STOP_S = 5.0

Process = subprocess.Popen[str]
Check = Callable[[], None]


def measure_layouts(
    layouts: Sequence[Layout],
    config: Mapping[str, Any],
    weights: bytes,
    choice: Choice,
    *,
    plugins: Sequence[str] = (),
    run_s: float = RUN_S,
    check: Check = lambda: None,
) -> dict[Layout, float]:
    """Run each layout several times, in turn, and take its best.

    Args:
        layouts: To compare.
        config: The model's configuration.
        weights: Its weights.
        choice: How it runs.
        plugins: Modules with kinds and architectures of the user's own.
        run_s: Seconds of one run.
        check: Called ten times a second; may raise to break off.

    Returns:
        Items a second of all processes of a layout together.

    Raises:
        LayoutError: A process did not load the model.
    """
    best = dict.fromkeys(layouts, 0.0)
    with tempfile.NamedTemporaryFile(suffix=".safetensors") as file:
        file.write(weights)
        file.flush()
        request = {
            "config": dict(config),
            "weights": file.name,
            "choice": choice.to_json(),
            "plugins": list(plugins),
        }
        with _team(max(layout.processes for layout in layouts), request, check) as team:
            for layout in [*layouts] * ROUNDS:
                best[layout] = max(best[layout], _run(team[: layout.processes], layout.threads, run_s, check))
    return best


@contextmanager
def _team(count: int, request: Mapping[str, Any], check: Check) -> Iterator[list[Process]]:
    """Processes with the model loaded and nothing to do; every layout uses some of them."""
    team = [_start() for _ in range(count)]
    try:
        for process in team:
            _send(process, json.dumps(request))
        for process in team:
            _receive(process, check)
        yield team
    finally:
        for process in team:
            process.kill()
            process.communicate(timeout=STOP_S)


def _start() -> Process:
    process = subprocess.Popen(
        [sys.executable, "-m", "ml.throughput"],
        env={**os.environ, **pin_environment(CPU)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.setpriority(os.PRIO_PROCESS, process.pid, NICENESS)
    return process


def _run(team: Sequence[Process], threads: int, run_s: float, check: Check) -> float:
    for process in team:
        _send(process, f"{threads} {run_s}")
    return sum(float(_receive(process, check)) for process in team)


def _send(process: Process, line: str) -> None:
    assert process.stdin is not None
    try:
        process.stdin.write(line + "\n")
        process.stdin.flush()
    except BrokenPipeError:
        _fail(process)


def _receive(process: Process, check: Check) -> str:
    assert process.stdout is not None
    while not wait([process.stdout.fileno()], CHECK_EVERY_S):
        check()
    return process.stdout.readline() or _fail(process)


def _fail(process: Process) -> str:
    assert process.stderr is not None
    last_line = process.stderr.read().strip().rpartition("\n")[2]
    raise LayoutError(f"a process that measures ended: {last_line}")
