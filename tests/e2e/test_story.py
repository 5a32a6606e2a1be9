"""The whole learning loop in small: `make story ARGS=--small`, on a stack of its own."""

from pathlib import Path

import pytest

from benchmarks.story.__main__ import tell_story
from benchmarks.story.scale import SMALL
from benchmarks.story.story import find_misses


@pytest.mark.timeout(600)
def test_a_model_learns_recovers_and_refuses_what_is_bad(tmp_path: Path) -> None:
    said: list[str] = []

    record = tell_story(SMALL, tmp_path / "story", said.append)

    assert find_misses(record, SMALL) == [], said
    titles = [step.title for step in record.steps]
    for title in ("the comparison decides", "promotion", "drift alarms", "recovered", "the gate: archived"):
        assert title in titles, said
    assert (tmp_path / "story" / "report.html").stat().st_size > 10_000
