"""`benchmarks.similarity` at a small size, with a Postgres of its own."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from benchmarks.similarity import main
from tests.unit.ml.conftest import write_idx


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder with the four files of Fashion-MNIST, 48 images of noise in each part."""
    rng = np.random.default_rng(0)
    for prefix in ("train", "t10k"):
        write_idx(tmp_path / f"{prefix}-images-idx3-ubyte.gz", rng.integers(0, 256, (48, 28, 28)))
        write_idx(tmp_path / f"{prefix}-labels-idx1-ubyte.gz", np.arange(48) % 10)
    return tmp_path


def test_a_small_index_finds_all_that_exact_search_finds(data: Path) -> None:
    options = [f"--data={data}", "--items=48", "--queries=3", "--ef-search=100"]

    report = json.loads(CliRunner().invoke(main, [*options, "--json"], catch_exceptions=False).stdout)

    assert (report["items"], report["queries"], report["dimensions"]) == (48, 3, 64)
    assert [each["recall_at_10"] for each in report["found"]] == [1.0]


def test_the_figures_are_shown_as_a_table(data: Path) -> None:
    shown = CliRunner().invoke(main, [f"--data={data}", "--items=20", "--queries=2"], catch_exceptions=False).stdout

    assert "recall@10" in shown
    assert len([line for line in shown.splitlines() if line.rstrip().endswith("ms")]) == 3
