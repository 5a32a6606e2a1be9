"""`ml.layouts` and `ml.layout_race`: how many workers, of how many threads."""

import os
from pathlib import Path

import psutil
import pytest

from ml import layouts as layouts_module
from ml.bundles import BUNDLED_DIRECTORY, Bundle, read_bundle
from ml.choices import Choice
from ml.errors import LayoutError, TuningInterruptedError
from ml.layout_race import measure_layouts
from ml.layouts import WORKER_BYTES, Layout, affordable_processes, pick_layout, possible_layouts

ONE, WIDE, TWO = Layout(processes=1, threads=1), Layout(processes=1, threads=2), Layout(processes=2, threads=1)


@pytest.mark.parametrize(
    ("cores", "processes", "expected"),
    [
        (1, 8, ["1 x 1"]),
        (2, 8, ["1 x 1", "1 x 2", "2 x 1"]),
        (2, 1, ["1 x 1", "1 x 2"]),
        (6, 8, ["1 x 1", "1 x 6", "2 x 3", "4 x 1", "6 x 1"]),
        (8, 4, ["1 x 1", "1 x 8", "2 x 4", "4 x 2"]),
    ],
)
def test_layouts_share_the_cores(cores: int, processes: int, expected: list[str]) -> None:
    assert [str(layout) for layout in possible_layouts(cores, processes)] == expected


@pytest.mark.parametrize(("memory", "expected"), [(0, 1), (2 * WORKER_BYTES, 1), (9 * WORKER_BYTES, 4)])
def test_no_more_workers_than_there_is_memory_for(monkeypatch: pytest.MonkeyPatch, memory: int, expected: int) -> None:
    monkeypatch.setattr(layouts_module, "free_memory_bytes", lambda: memory)
    assert affordable_processes() == expected


def test_the_fastest_layout_is_picked() -> None:
    assert pick_layout({ONE: 25.0, WIDE: 43.0, TWO: 48.0}) == TWO


def test_more_processes_that_gain_next_to_nothing_are_not_worth_their_memory() -> None:
    assert pick_layout({ONE: 25.0, WIDE: 43.0, TWO: 44.0}) == WIDE


@pytest.fixture
def _found_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    """Children import from this checkout, wherever the tests were started."""
    root = str(Path(__file__).parents[3])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")])))


@pytest.fixture
def xor() -> Bundle:
    return read_bundle(BUNDLED_DIRECTORY / "xor")


@pytest.mark.usefixtures("_found_modules")
def test_processes_are_measured_side_by_side(xor: Bundle) -> None:
    rates = measure_layouts([ONE, TWO], xor.config, xor.weights, Choice(), run_s=0.01)
    assert list(rates) == [ONE, TWO]
    assert min(rates.values()) > 0


@pytest.mark.usefixtures("_found_modules")
def test_a_process_that_cannot_load_the_model_is_told_with_its_reason(xor: Bundle) -> None:
    with pytest.raises(LayoutError, match="not safetensors"):
        measure_layouts([ONE], xor.config, b"nothing", Choice(), run_s=0.01)


def test_a_measurement_that_is_broken_off_leaves_no_process(xor: Bundle) -> None:
    def interrupt() -> None:
        raise TuningInterruptedError

    with pytest.raises(TuningInterruptedError):
        measure_layouts([TWO], xor.config, xor.weights, Choice(), check=interrupt)

    commands = [child.cmdline() for child in psutil.Process().children(recursive=True)]
    assert [command for command in commands if "ml.throughput" in command] == []
