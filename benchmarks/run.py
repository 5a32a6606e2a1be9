"""Every figure in one table: `python -m benchmarks.run`, or `make bench`.

Each section starts what it measures, keeps its figures under `var/bench/`, and stops it; the table is made of what the
sections kept, so that one of them can be measured anew by itself. Load generator, web, worker, Postgres and Valkey
share the machine: figures of different runs compare only as far as the machine was as quiet, while the ratios within a
run do.
"""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import click
from rich.console import Console

from benchmarks import kill, memory, photos, promotion, versus, xor
from benchmarks.history import DEFAULT_ROWS
from benchmarks.peers.launch import PeersMissingError
from benchmarks.report import RESULTS, Figure, print_table, read_section, to_json, write_section
from benchmarks.wrk import WrkMissingError, require_wrk

DEFAULT_SECONDS = 20.0


@dataclass(frozen=True, kw_only=True)
class Effort:
    """How much a run takes upon itself.

    Attributes:
        seconds: Of each load.
        steady_seconds: Of the constant rate.
        steady_per_minute: That rate.
        rows: Stored predictions.
    """

    seconds: float
    steady_seconds: float
    steady_per_minute: float
    rows: int


def _measure_memory(effort: Effort) -> list[Figure]:
    with TemporaryDirectory(prefix="torchqueue-bench-") as folder:
        return memory.measure(Path(folder), effort.rows)


#: In the order of the table.
SECTIONS: Mapping[str, Callable[[Effort], list[Figure]]] = {
    "xor": lambda effort: xor.measure_queue(effort.seconds),
    "inline": lambda effort: xor.measure_inline(effort.seconds),
    "resnet18": lambda effort: photos.measure_throughput(effort.seconds),
    "phone": lambda effort: photos.measure_phone(effort.seconds),
    "steady": lambda effort: photos.measure_steady(effort.steady_seconds, effort.steady_per_minute),
    "kill": lambda effort: kill.measure_kill(effort.seconds),
    "promotion": lambda _effort: promotion.measure(promotion.CHANGES, promotion.WORKERS),
    "memory": _measure_memory,
    "peers": lambda effort: versus.compare_photos(effort.seconds),
    "peers-xor": lambda effort: versus.compare_xor(effort.seconds),
}

#: These need an environment of their own, see `make bench-peers`.
WITH_PEERS = ("peers", "peers-xor")


def run_sections(names: list[str], effort: Effort, results: Path) -> None:
    """Measure some sections; one that fails says why and stops no other."""
    console = Console(stderr=True)
    for name in names:
        console.print(f"measuring {name}", style="bold")
        try:
            write_section(name, SECTIONS[name](effort), results=results)
        # A section starts dozens of processes, and whatever ends one of them must not cost the figures of the others.
        except Exception as error:  # noqa: BLE001
            console.print(f"{name} was not measured: {error}", style="red", markup=False)


def parse_names(_context: click.Context, _parameter: click.Parameter, value: str | None) -> list[str]:
    """Read the sections that `--only` names; all that need no peers where it is not given."""
    if value is None:
        return [name for name in SECTIONS if name not in WITH_PEERS]
    names = value.split(",")
    unknown = sorted(set(names) - SECTIONS.keys())
    if unknown:
        raise click.BadParameter(f"there is no section {unknown[0]!r}; there are {', '.join(SECTIONS)}")
    return names


@click.command()
@click.option("--only", "names", callback=parse_names, help=f"Sections, by comma: {', '.join(SECTIONS)}.")
@click.option("--seconds", type=click.FloatRange(1), default=DEFAULT_SECONDS, show_default=True, help="Of each load.")
@click.option(
    "--steady-seconds", type=click.FloatRange(1), default=photos.STEADY_SECONDS, show_default=True, help="Of `steady`."
)
@click.option(
    "--steady-per-minute",
    type=click.FloatRange(1),
    default=photos.STEADY_PER_MINUTE,
    show_default=True,
    help="Photos of `steady`; name fewer where the raw loop does not manage as many.",
)
@click.option("--rows", type=click.IntRange(1_000), default=DEFAULT_ROWS, show_default=True, help="Of `memory`.")
@click.option("--results", type=click.Path(path_type=Path), default=RESULTS, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
@click.option("--show", is_flag=True, help="Measure nothing; print what was measured last.")
def main(
    names: list[str],
    seconds: float,
    steady_seconds: float,
    steady_per_minute: float,
    rows: int,
    results: Path,
    as_json: bool,
    show: bool,
) -> None:
    """Measure, and print every figure with what is wanted of it."""
    if not show:
        try:
            require_wrk()
        except (WrkMissingError, PeersMissingError) as error:
            sys.exit(str(error))
        effort = Effort(seconds=seconds, steady_seconds=steady_seconds, steady_per_minute=steady_per_minute, rows=rows)
        run_sections(names, effort, results)
    kept = {name: read_section(name, results=results) for name in SECTIONS}
    if as_json:
        click.echo(to_json(kept))
        return
    print_table(figure for figures in kept.values() for figure in figures)


if __name__ == "__main__":
    main()
