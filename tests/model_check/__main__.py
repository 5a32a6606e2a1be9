"""`python -m tests.model_check`: every state of a small queue, and the bugs that this way of looking finds."""

import gc
import sys
import time
from dataclasses import replace

import click

from tests.model_check.protocol import BROKEN, Rules
from tests.model_check.search import search


@click.command()
@click.option("--jobs", default=3, show_default=True, help="Requests.")
@click.option("--workers", default=2, show_default=True, help="Worker processes.")
@click.option("--attempts", default=2, show_default=True, help="Claims of a row.")
@click.option("--faults", default=3, show_default=True, help="Deaths, hangs and lost answers, at any step.")
def main(jobs: int, workers: int, attempts: int, faults: int) -> None:
    """Check the protocol, then see to it that each broken variant is found out; status 1 where either fails."""
    rules = Rules(jobs=jobs, workers=workers, max_attempts=attempts, faults=faults)
    # All states stay, so that every collection of garbage would look through more of them and find none.
    gc.disable()
    began = time.monotonic()
    found = search(rules)
    took_s = time.monotonic() - began
    click.echo(
        f"{found.states:,} states, {found.transitions:,} steps, {took_s:.0f} s: {found.broken or 'every promise holds'}"
    )
    for step in found.trace:
        click.echo(f"  {step}")
    ok = found.broken is None
    for name, changed in BROKEN.items():
        variant = search(replace(rules, **changed))
        click.echo(f"\n{name}: {variant.broken or 'NOT FOUND OUT'} ({variant.states:,} states)")
        for number, step in enumerate(variant.trace, 1):
            click.echo(f"  {number:2}. {step}")
        ok = ok and variant.broken is not None
    sys.exit(not ok)


if __name__ == "__main__":
    main()
