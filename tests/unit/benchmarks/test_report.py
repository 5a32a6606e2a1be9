"""`benchmarks.report`: figures, their bounds, and the table that is kept."""

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks.report import Bound, Figure, Unit, at_least, at_most, print_table, read_section, to_json, write_section

RATE = Figure(name="xor", value=1999.0, unit=Unit.PER_SECOND, wanted=at_least(2000), note="p50 40 ms")
PAUSE = Figure(name="pause", value=0.4, unit=Unit.S, wanted=at_most(1.0))
MISSING = Figure(name="peer", value=None, unit=Unit.RATIO, wanted=at_least(2.0), note="did not start")


@pytest.mark.parametrize(
    ("bound", "value", "met"),
    [(at_least(2), 2.0, True), (at_least(2), 1.9, False), (at_most(2), 2.0, True), (at_most(2), 2.1, False)],
)
def test_a_bound_holds_its_own_value(bound: Bound, value: float, met: bool) -> None:
    assert Figure(name="", value=value, unit=Unit.MS, wanted=bound).met is met


def test_what_was_not_measured_is_not_met() -> None:
    assert MISSING.met is False


def test_what_nobody_wanted_is_neither_met_nor_missed() -> None:
    assert Figure(name="", value=1.0, unit=Unit.MS).met is None


def test_a_section_is_read_as_it_was_written(tmp_path: Path) -> None:
    write_section("xor", [RATE, PAUSE, MISSING], results=tmp_path)

    assert read_section("xor", results=tmp_path) == [RATE, PAUSE, MISSING]


def test_a_section_that_never_ran_has_no_figures(tmp_path: Path) -> None:
    assert read_section("xor", results=tmp_path) == []


def test_the_table_shows_measured_wanted_and_met() -> None:
    output = io.StringIO()

    print_table([RATE, PAUSE, MISSING], Console(file=output, width=120))

    lines = [" ".join(line.split()) for line in output.getvalue().splitlines()[1:]]
    assert lines == [
        "xor 1,999 /s ≥ 2,000 /s no p50 40 ms",
        "pause 0.40 s ≤ 1.00 s yes",
        "peer not measured ≥ 2.00 × no did not start",  # noqa: RUF001 - as it is printed
    ]


def test_programs_read_the_same_figures() -> None:
    [figure] = json.loads(to_json({"xor": [PAUSE]}))["xor"]

    assert figure == {
        "name": "pause",
        "value": 0.4,
        "unit": "s",
        "wanted": {"sense": "at most", "value": 1.0},
        "note": "",
        "met": True,
    }
