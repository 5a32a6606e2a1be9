"""``python -m benchmarks.revisions --against REVISION``: this code and an older revision of it, in turn on one machine.

Rates move by a quarter from hour to hour on shared machines, so a figure of today says little against one of last week.
Here both revisions run in pairs, each in a stack of its own, and the ratios of the pairs are what is told.
"""

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from benchmarks.backend import load_model, resident_mib, wait_until_settled, web_mib, write_xor
from benchmarks.report import Bound, Figure, Unit, at_least, at_most, write_section
from benchmarks.wrk import require_wrk
from tests.running import ROOT, RunningStack, extract_revision

CONNECTIONS = 64
JSON = "application/json"
TOLERANCE = 0.05


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One run of one revision.

    Attributes:
        per_second: Predictions of `xor` through the queue at 64 connections, all committed.
        lone_ms: Median of a request that is alone, milliseconds.
        web_mib: Resident memory of the largest web process.
        worker_mib: Resident memory of the worker.
    """

    per_second: float
    lone_ms: float
    web_mib: float
    worker_mib: float


def measure(root: Path, seconds: float) -> Measured:
    """Run the code of a tree in a new stack and load it."""
    with (
        TemporaryDirectory(prefix="torchqueue-bench-") as folder,
        RunningStack.start(Path(folder) / "var", root=root) as stack,
    ):
        wait_until_settled()
        body = write_xor(Path(folder))
        lone = load_model(stack, "xor", [body], JSON, connections=1, seconds=seconds)
        crowd = load_model(stack, "xor", [body], JSON, connections=CONNECTIONS, seconds=seconds, warm_up_s=2)
        return Measured(
            per_second=crowd.good_per_second,
            lone_ms=lone.p50_ms,
            web_mib=web_mib(stack),
            worker_mib=resident_mib(stack.pid("cpu-0")),
        )


def compare(pairs: list[tuple[Measured, Measured]]) -> list[Figure]:
    """Tell the median ratio of each figure, new over old, and how far the pairs lie apart."""
    more, less = at_least(1 - TOLERANCE), at_most(1 + TOLERANCE)
    return [
        _ratio("xor, queue, committed, 64 connections", pairs, lambda run: run.per_second, "/s", more),
        _ratio("a lone request, p50", pairs, lambda run: run.lone_ms, "ms", less),
        _ratio("memory of a web process", pairs, lambda run: run.web_mib, "MiB", less),
        _ratio("memory of the CPU worker", pairs, lambda run: run.worker_mib, "MiB", less),
    ]


def _ratio(
    name: str, pairs: list[tuple[Measured, Measured]], value: Callable[[Measured], float], unit: str, wanted: Bound
) -> Figure:
    ratios = [value(new) / value(old) for new, old in pairs]
    new, old = (statistics.median(value(pair[side]) for pair in pairs) for side in (0, 1))
    note = f"{new:,.5g} and {old:,.5g} {unit}; {len(pairs)} pairs from {min(ratios):.2f} to {max(ratios):.2f}"
    return Figure(name=name, value=statistics.median(ratios), unit=Unit.RATIO, wanted=wanted, note=note)


@click.command()
@click.option("--against", required=True, help="A revision of this repository.")
@click.option("--pairs", "count", type=click.IntRange(1), default=6, show_default=True)
@click.option("--seconds", type=click.FloatRange(1), default=8.0, show_default=True, help="Of each load.")
def main(against: str, count: int, seconds: float) -> None:
    """Measure both in turn, who is first changing from pair to pair, and print the table."""
    require_wrk()
    pairs = []
    with TemporaryDirectory(prefix="torchqueue-bench-") as folder:
        try:
            old_root = extract_revision(against, Path(folder))
        except LookupError as error:
            raise click.ClickException(str(error)) from error
        for number in range(count):
            roots = [ROOT, old_root] if number % 2 == 0 else [old_root, ROOT]
            runs = {root: measure(root, seconds) for root in roots}
            pairs.append((runs[ROOT], runs[old_root]))
            click.echo(f"this code {runs[ROOT]}\nthe older {runs[old_root]}", err=True)
    write_section(f"revisions-{against}", compare(pairs))


if __name__ == "__main__":
    main()
