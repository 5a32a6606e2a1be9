"""`python -m tests.soak`: 70 % of what a stack can do, for long, with a fault every two minutes.

It may be stopped at any time by Ctrl-C: the samples are kept as they are taken, and the report is made of them.
`--report` makes it again.
"""

import random
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path

import click

from tests.faults.arena import Arena, running_arena
from tests.faults.matrix import MATRIX, Row
from tests.faults.results import append, print_table, read
from tests.faults.run import run_injected
from tests.soak.report import slopes, write_report
from tests.soak.sampling import read_samples, take_sample, write_sample

SHARE = 0.7
CALIBRATE_S = 10.0
SAMPLE_S = 10.0
CLIENTS = 4

#: Rows whose one fault takes long, and those that have the worker load a further model, which is no leak.
LEFT_OUT = ("24 s", " 120", "doorbells", "poison", "decoder")


@click.command()
@click.option("--minutes", type=float, default=30.0, show_default=True, help="How long.")
@click.option("--every", type=float, default=120.0, show_default=True, help="Seconds between faults.")
@click.option("--folder", type=click.Path(path_type=Path), default=Path("var/soak"), show_default=True)
@click.option("--seed", type=int, default=1, show_default=True, help="Of the choice of faults.")
@click.option("--report", "report_only", is_flag=True, help="Run nothing; judge the samples that are there.")
def main(minutes: float, every: float, folder: Path, seed: int, report_only: bool) -> None:
    """Run a soak; ends with status 1 when a promise was broken or something grows."""
    folder.mkdir(parents=True, exist_ok=True)
    # A soak that is told to end takes its servers with it, and is judged.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if not report_only:
        for name in ("samples.jsonl", "faults.jsonl"):
            (folder / name).unlink(missing_ok=True)
        try:
            with tempfile.TemporaryDirectory(prefix="soak-") as var, running_arena(Path(var), seed=seed) as arena:
                _soak(arena, folder, minutes * 60, every, seed)
        except KeyboardInterrupt:
            click.echo("stopped; judging what there is", err=True)
    results = read(folder / "faults.jsonl")
    samples = read_samples(folder / "samples.jsonl")
    verdicts = [f"- {r.at} {r.row}: {'; '.join(r.violations) or 'holds'}, {r.accepted:,} accepted" for r in results]
    click.echo(write_report(samples, folder, verdicts))
    print_table(results)
    sys.exit(any(r.violations for r in results) or any(slope.verdict == "grows" for slope in slopes(samples)))


def _soak(arena: Arena, folder: Path, seconds: float, every: float, seed: int) -> None:
    arena.clients.pause_s = CLIENTS / _peak(arena) * (1 / SHARE - 1)
    rng = random.Random(seed)
    rows = [row for row in MATRIX if not row.on_small_disks and not any(part in row.name for part in LEFT_OUT)]
    began, last_fault, fault = time.monotonic(), time.monotonic(), ""
    sampler = threading.Event()
    while time.monotonic() - began < seconds:
        with arena.clients.asking():
            injected = None
            until = min(last_fault + every, began + seconds)
            while time.monotonic() < until:
                sampler.wait(min(SAMPLE_S, max(0.0, until - time.monotonic())))
                answered = arena.history.peek_answered()
                at_s = time.monotonic() - began
                write_sample(folder / "samples.jsonl", take_sample(arena, at_s=at_s, answered=answered, fault=fault))
                fault = ""
            row: Row = rng.choice(rows)
            if time.monotonic() - began < seconds:
                injected = row.inject(arena, row.state, 1)
                fault, last_fault = row.name, time.monotonic()
        append(folder / "faults.jsonl", run_injected(arena, row, injected, seed))


def _peak(arena: Arena) -> float:
    """Answers a second when the clients do not pause."""
    arena.clients.pause_s = 0.0
    with arena.clients.asking():
        time.sleep(CALIBRATE_S)
    return len(arena.history.peek_answered()) / CALIBRATE_S


if __name__ == "__main__":
    main()
