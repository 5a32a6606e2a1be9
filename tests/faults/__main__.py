"""`python -m tests.faults`: break a stack on purpose, and count what is lost.

`make faults` runs the size of a commit; `SIZE=nightly` and `SIZE=release` take longer. Every group of faults is kept
in the results file at once, so a run may be stopped at any time and goes on with `--resume`.
"""

import json
import math
import random
import signal
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

import click

from tests.faults.arena import running_arena
from tests.faults.matrix import MATRIX, Row, Size
from tests.faults.results import Result, append, done, print_table, read, summarize
from tests.faults.run import run_group


@click.command()
@click.option(
    "--size",
    type=click.Choice([str(each) for each in Size]),
    default=str(Size.COMMIT),
    show_default=True,
    help="How much is run.",
)
@click.option("--share", type=click.FloatRange(0, 1, min_open=True), default=1.0, help="Part of each row's faults.")
@click.option("--only", default="", help="Rows whose name holds one of these, divided by commas.")
@click.option("--seed", type=int, default=None, help="Of all choices; printed, so that a run can be repeated.")
@click.option("--resume", is_flag=True, help="Leave out what the results file holds already.")
@click.option(
    "--results", "path", type=click.Path(path_type=Path), default=None, help="[default: var/faults/SIZE.jsonl]"
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a row instead of the table.")
@click.option("--table", "table_only", is_flag=True, help="Run nothing; print what the results file holds.")
def main(
    size: str,
    share: float,
    only: str,
    seed: int | None,
    resume: bool,
    path: Path | None,
    as_json: bool,
    table_only: bool,
) -> None:
    """Run the fault matrix; ends with status 1 when a promise was broken."""
    # A run that is told to end takes its servers with it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    path = path or Path("var/faults") / f"{size}.jsonl"
    if not resume and not table_only:
        path.unlink(missing_ok=True)
    if not table_only:
        seed = random.SystemRandom().randint(1, 10**6) if seed is None else seed
        click.echo(f"size {size}, seed {seed}, results in {path}", err=True)
        _run(_chosen(only), Size(size), share, seed, path)
    results = read(path)
    if as_json:
        for row in summarize(results):
            click.echo(json.dumps(asdict(row)))
    else:
        print_table(results)
    sys.exit(any(result.violations for result in results))


def _chosen(only: str) -> list[Row]:
    wanted = [part.strip() for part in only.split(",") if part.strip()]
    return [row for row in MATRIX if not wanted or any(part in row.name for part in wanted)]


def _run(rows: list[Row], size: Size, share: float, seed: int, path: Path) -> None:
    """Run rows in a stack of the kind that they need."""
    for on_small_disks in (False, True):
        _run_in_one([row for row in rows if row.on_small_disks == on_small_disks], size, share, seed, path)


def _run_in_one(rows: list[Row], size: Size, share: float, seed: int, path: Path) -> None:
    """Run what is missing; the row that is furthest behind goes next, so that a stopped run has seen all of them."""
    wanted = {row: math.ceil(row.runs(size) * share) for row in rows if row.runs(size)}
    counted = done(read(path))
    made = {row: counted.get(row.name, 0) for row in wanted}
    if all(made[row] >= count for row, count in wanted.items()):
        return
    with (
        tempfile.TemporaryDirectory(prefix="faults-") as folder,
        running_arena(Path(folder), seed=seed, on_small_disks=rows[0].on_small_disks) as arena,
    ):
        while behind := [row for row, count in wanted.items() if made[row] < count]:
            row = min(behind, key=lambda row: made[row] / wanted[row])
            count = min(row.group, wanted[row] - made[row])
            try:
                result = run_group(arena, row, count, seed)
            # A fault that could not be done proves nothing either way: `--resume` does it later.
            except AssertionError as error:
                click.echo(f"abandoned: {count} x {row.name}: {error}", err=True)
            else:
                append(path, result)
                _tell(result)
            made[row] += count


def _tell(result: Result) -> None:
    verdict = "; ".join(result.violations[:3]) or "holds"
    click.echo(f"{result.seconds:6.1f} s  {result.faults:4}  {result.row:50}  {verdict}", err=True)


if __name__ == "__main__":
    main()
