"""`tests.faults.results`: what is kept, and what is made of it."""

from pathlib import Path

from tests.faults.results import Result, append, done, read, summarize


def result(row: str, **changes: int | list[str] | list[float]) -> Result:
    return Result(row=row, seed=1, at="2026-01-01T00:00:00+00:00", **({"faults": 2} | changes))  # type: ignore[arg-type]


def test_a_run_that_was_stopped_goes_on_where_it_was(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    append(path, result("SIGKILL here"))
    append(path, result("SIGKILL here", faults=3))

    assert done(read(path))["SIGKILL here"] == 5


def test_nothing_was_done_where_nothing_was_kept(tmp_path: Path) -> None:
    assert read(tmp_path / "missing.jsonl") == []


def test_groups_of_a_row_are_summed_and_none_of_their_violations_is_lost() -> None:
    [row] = summarize([result("a", lost=1, violations=["I1: gone"], recoveries=[0.5]), result("a", violations=[])])

    assert (row.faults, row.lost, row.violations, row.recoveries) == (4, 1, ["I1: gone"], [0.5])
