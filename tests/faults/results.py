"""The results file, one JSON object a line, and the table that is made of it."""

import json
import statistics
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.faults.matrix import NOT_RUN

COLUMNS = (
    *("fault", "runs", "accepted", "lost", "doubled", "given up", "recovery p50", "max"),
    *("p99 of others, times", "verdict"),
)


@dataclass(kw_only=True)
class Result:
    """What one group of faults came to.

    Attributes:
        row: Name of the row of the matrix.
        seed: Of the run.
        at: ISO time of its end.
        faults: That happened.
        accepted: Ids that clients were told meanwhile.
        lost: Of these, missing, open or wrong.
        doubled: Done twice.
        given_up: Innocent rows that failed since processes died under them too often, as declared.
        seconds: That it took.
        recoveries: Seconds from each fault until all was well.
        others: How many times longer the p99 of the tenant whom no fault touches was, by group.
        violations: Broken promises, each with its invariant.
    """

    row: str
    seed: int
    at: str
    faults: int
    accepted: int = 0
    lost: int = 0
    doubled: int = 0
    given_up: int = 0
    seconds: float = 0.0
    recoveries: list[float] = field(default_factory=list)
    others: list[float] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)


def append(path: Path, result: Result) -> None:
    """Keep a result, so that a run that is stopped loses one group at most."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(json.dumps(asdict(result)) + "\n")


def read(path: Path) -> list[Result]:
    """Read what was kept; none where nothing was."""
    if not path.exists():
        return []
    return [Result(**json.loads(line)) for line in path.read_text().splitlines() if line.strip()]


def done(results: Iterable[Result]) -> dict[str, int]:
    """Faults by row."""
    counted: defaultdict[str, int] = defaultdict(int)
    for result in results:
        counted[result.row] += result.faults
    return dict(counted)


def summarize(results: Iterable[Result]) -> list[Result]:
    """One result a row, in the order in which the rows came first."""
    rows: dict[str, Result] = {}
    for result in results:
        total = rows.setdefault(result.row, Result(row=result.row, seed=result.seed, at=result.at, faults=0))
        total.at = result.at
        for name in ("faults", "accepted", "lost", "doubled", "given_up", "seconds"):
            setattr(total, name, getattr(total, name) + getattr(result, name))
        total.recoveries += result.recoveries
        total.others += result.others
        total.violations += result.violations
    return list(rows.values())


def print_table(results: Iterable[Result]) -> None:
    """Print one line a row, the sum, what was broken, and what was not run."""
    rows = summarize(results)
    console = Console(width=170)
    table = Table()
    for name in COLUMNS:
        table.add_column(name, justify="left" if name in {"fault", "verdict"} else "right")
    for row in rows:
        verdict = (
            "holds"
            if not row.violations
            else f"BROKEN: {', '.join(sorted({v.partition(':')[0] for v in row.violations}))}"
        )
        p50 = f"{statistics.median(row.recoveries):.2f} s" if row.recoveries else "-"
        worst = f"{max(row.recoveries):.2f} s" if row.recoveries else "-"
        counts = (row.faults, row.accepted, row.lost, row.doubled, row.given_up)
        others = f"{statistics.median(row.others):.2f}" if row.others else "-"
        table.add_row(row.row, *(f"{count:,}" for count in counts), p50, worst, others, verdict)
    console.print(table)
    kills = sum(row.faults for row in rows if row.row.startswith("SIGKILL"))
    faults, lost = sum(row.faults for row in rows), sum(row.lost for row in rows)
    console.print(
        f"{faults:,} faults, of these {kills:,} SIGKILLs; {sum(row.accepted for row in rows):,} accepted, {lost} lost"
    )
    if kills and not lost:
        console.print(f"no loss in {kills:,} kills bounds the rate at {3 / kills:.2%} a kill (95 %)")
    for violation in sorted({violation for row in rows for violation in row.violations})[:20]:
        console.print(f"broken: {violation}", style="red")
    for what, why in NOT_RUN.items():
        console.print(f"not run: {what} ({why})")
