"""What the story keeps, draws and holds against its targets."""

from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from benchmarks.story.api import Answer, StoryError, wait_for
from benchmarks.story.photos import Photo
from benchmarks.story.record import Record, Step, accuracy
from benchmarks.story.report import draw, summarize, write_report
from benchmarks.story.scale import FULL, SMALL
from benchmarks.story.story import find_misses

FIGURES = {
    "version_1": 0.8,
    "before_shift": 0.9,
    "first_shifted_photos": 0.3,
    "after_shift": 0.88,
    "after_shift_upright": 0.89,
    "bad_candidate": "worse than a loss of 0.03 allows",
}

PHOTOS = [Photo(b"", "Bag")] * 40


@pytest.fixture
def record() -> Record:
    """A story of three chunks and two versions."""
    record = Record(figures=dict(FIGURES))
    for version, label in ((1, "Coat"), (1, "Bag"), (2, "Bag")):
        record.add_chunk(PHOTOS, [Answer("id", version, label)] * 40, {"labels": 0.5})
    record.steps.append(Step(photos=80, title="promotion", detail="version 2 answers <all> photos"))
    return record


def test_a_chunk_counts_who_answered_and_who_was_right(record: Record) -> None:
    assert [(chunk.photos, chunk.answered, chunk.right) for chunk in record.chunks] == [
        (40, {1: 40}, {}),
        (80, {1: 40}, {1: 40}),
        (120, {2: 40}, {2: 40}),
    ]


def test_the_accuracy_is_the_share_of_right_answers() -> None:
    assert accuracy(PHOTOS[:2], [Answer("a", 1, "Bag"), Answer("b", 1, None)]) == 0.5


def test_every_plot_is_a_picture_of_its_own(record: Record) -> None:
    plots = draw(record)

    assert list(plots) == ["accuracy", "traffic", "drift"]
    assert {ET.fromstring(svg).tag for svg in plots.values()} == {"{http://www.w3.org/2000/svg}svg"}  # noqa: S314


def test_the_report_needs_nothing_but_itself(record: Record, tmp_path: Path) -> None:
    html = write_report(record, tmp_path).read_text()

    assert html.count("<svg") == 3
    assert "version 2 answers &lt;all&gt; photos" in html
    assert "src=" not in html
    assert "<script" not in html


def test_the_summary_tells_the_figures(record: Record) -> None:
    assert "version 1 had 80.0% right, the champion before the shift 90.0%" in summarize(record)


def test_a_story_that_reaches_its_targets_misses_nothing(record: Record) -> None:
    assert find_misses(record, FULL) == []


@pytest.mark.parametrize(
    ("figure", "value", "miss"),
    [
        ("before_shift", 0.88, "the accuracy rose to 88.00%, not to 89.00%"),
        ("after_shift", 0.86, "after the shift it came back to 86.00%, more than 3 points below 90.00%"),
    ],
)
def test_a_missed_target_is_named(record: Record, figure: str, value: float, miss: str) -> None:
    record.figures[figure] = value

    assert miss in find_misses(record, FULL)


def test_a_small_story_must_only_become_better(record: Record) -> None:
    record.figures["before_shift"] = 0.81

    assert find_misses(record, SMALL) == []
    assert find_misses(record, replace(SMALL, rise=0.85)) != []


def test_what_never_comes_is_not_waited_for_for_ever() -> None:
    with pytest.raises(StoryError, match="a training did not come within 0 s"):
        wait_for(lambda: None, 0.0, "a training")
