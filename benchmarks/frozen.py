"""``python -m benchmarks.frozen``: requests while Valkey or Postgres is stopped in its tracks (SIGSTOP), or killed.

A server that hangs is worse than one that is gone: it takes connections and says nothing.
"""

import asyncio
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

import click
import psutil

from benchmarks.backend import headers, running_backend, wait_for_model
from benchmarks.flood import Answered, Flood, percentile_ms, steady_times
from benchmarks.occupied import JSON
from benchmarks.report import Figure, Unit, at_most, write_section
from tests.running import RunningStack

BODY = b'{"input": [0, 1]}'
PER_SECOND = 40.0

ACCEPT_MS = 60.0
REFUSE_MS = 300.0

#: A hanging Postgres is told from a slow one after a second; who asked meanwhile waits for that long.
NOTICED_S = 1.5


def measure(seconds: float) -> list[Figure]:
    """Measure with outages of so many seconds."""
    with running_backend("--web-processes=1") as stack:
        wait_for_model(stack, "xor", BODY, JSON)
        return asyncio.run(_measure(stack, seconds))


async def _measure(stack: RunningStack, seconds: float) -> list[Figure]:
    flood = Flood(f"{stack.url}/v1/models/xor/predictions", {**headers(stack, JSON), "Prefer": "respond-async"}, BODY)
    waiting = Flood(flood.url, headers(stack, JSON), BODY)
    await flood.send(steady_times(PER_SECOND, seconds / 2))
    healthy = await flood.send(steady_times(PER_SECOND, seconds))
    with frozen(stack, "valkey"):
        accepted, answered = await asyncio.gather(
            flood.send(steady_times(PER_SECOND, seconds)), waiting.send(steady_times(2.0, seconds))
        )
    await asyncio.sleep(2.0)
    with frozen(stack, "postgres"):
        started = time.perf_counter()
        hung = await flood.send(steady_times(PER_SECOND, seconds))
    await asyncio.sleep(5.0)
    with stack.without("postgres"):
        gone = await flood.send(steady_times(PER_SECOND, seconds))
    flood.close()
    waiting.close()
    return [
        Figure(name="p99 of an acceptance", value=percentile_ms(healthy, 0.99), unit=Unit.MS, note=_counts(healthy)),
        Figure(
            name="Valkey frozen: p99 of an acceptance",
            value=percentile_ms(accepted, 0.99),
            unit=Unit.MS,
            wanted=at_most(ACCEPT_MS),
            note=f"{_counts(accepted)}; who waits: p99 {percentile_ms(answered, 0.99):,.0f} ms, {_counts(answered)}",
        ),
        _refusals("Postgres frozen", [answer for answer in hung if answer.due - started > NOTICED_S]),
        _refusals("Postgres killed", gone),
    ]


def _refusals(what: str, answers: list[Answered]) -> Figure:
    return Figure(
        name=f"{what}: p99 of a refusal",
        value=percentile_ms(answers, 0.99),
        unit=Unit.MS,
        wanted=at_most(REFUSE_MS),
        note=_counts(answers),
    )


def _counts(answers: list[Answered]) -> str:
    statuses = sorted({answer.status for answer in answers})
    return ", ".join(f"{sum(answer.status == status for answer in answers):,} × {status}" for status in statuses)  # noqa: RUF001


@contextmanager
def frozen(stack: RunningStack, name: str) -> Iterator[None]:
    """Stop a server and all that it started while the block runs."""
    main = psutil.Process(stack.pid(name))
    processes = [main, *main.children(recursive=True)]
    for process in processes:
        process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        for process in processes:
            process.send_signal(signal.SIGCONT)


@click.command()
@click.option("--seconds", type=click.FloatRange(2), default=10.0, show_default=True, help="Of each outage.")
def main(seconds: float) -> None:
    """Measure, and print the table."""
    write_section("frozen", measure(seconds))


if __name__ == "__main__":
    main()
