"""Measuring layouts of worker processes: real ones that compute side by side, in turn with other numbers of them."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from ml.choices import Choice
from ml.devices import CPU, pin_environment
from stack.errors import MeasurementError
from stack.layout import Layout

#: Every layout runs so many times, in turn with the others, for so long each.
ROUNDS = 3
RUN_S = 1.5

#: More processes must answer so many times as much as fewer, or the fewer are chosen: each costs memory.
LEAST_GAIN = 1.05

STOP_S = 5.0

Process = subprocess.Popen[str]


def measure_layouts(
    layouts: Sequence[Layout], config: Mapping[str, Any], weights: bytes, choice: Choice, *, run_s: float = RUN_S
) -> dict[Layout, float]:
    """Run each layout several times, in turn, and take its best.

    Args:
        layouts: To compare.
        config: The model's configuration.
        weights: Its weights.
        choice: How it runs.
        run_s: Seconds of one run.

    Returns:
        Items a second of all processes of a layout together.

    Raises:
        MeasurementError: A process did not load the model.
    """
    best = dict.fromkeys(layouts, 0.0)
    with tempfile.NamedTemporaryFile(suffix=".safetensors") as file:
        file.write(weights)
        file.flush()
        request = {"config": dict(config), "weights": file.name, "choice": choice.to_json()}
        with _team(max(layout.processes for layout in layouts), request) as team:
            for layout in [*layouts] * ROUNDS:
                best[layout] = max(best[layout], _run(team[: layout.processes], layout.threads, run_s))
    return best


def pick_layout(rates: Mapping[Layout, float]) -> Layout:
    """The fastest, or one of fewer processes that is nearly as fast."""
    fewest_first = sorted(rates, key=lambda layout: (layout.processes, layout.threads))
    best = fewest_first[0]
    for layout in fewest_first[1:]:
        best = layout if rates[layout] > rates[best] * LEAST_GAIN else best
    return best


@contextmanager
def _team(count: int, request: Mapping[str, Any]) -> Iterator[list[Process]]:
    """Processes with the model loaded and nothing to do; every layout uses some of them."""
    team = [_start() for _ in range(count)]
    try:
        for process in team:
            _send(process, json.dumps(request))
        for process in team:
            _receive(process)
        yield team
    finally:
        for process in team:
            process.kill()
            process.communicate(timeout=STOP_S)


def _start() -> Process:
    return subprocess.Popen(
        [sys.executable, "-m", "ml.throughput"],
        env={**os.environ, **pin_environment(CPU)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _run(team: Sequence[Process], threads: int, run_s: float) -> float:
    for process in team:
        _send(process, f"{threads} {run_s}")
    return sum(float(_receive(process)) for process in team)


def _send(process: Process, line: str) -> None:
    assert process.stdin is not None
    try:
        process.stdin.write(line + "\n")
        process.stdin.flush()
    except BrokenPipeError:
        _fail(process)


def _receive(process: Process) -> str:
    assert process.stdout is not None
    return process.stdout.readline() or _fail(process)


def _fail(process: Process) -> str:
    assert process.stderr is not None
    last_line = process.stderr.read().strip().rpartition("\n")[2]
    raise MeasurementError(f"a process that measures ended: {last_line}")
