"""``python -m benchmarks.overload``: what a stack does with two, five and ten times what it can do.

An open loop sends to a model of known capacity (`benchmarks.plugins.occupied`). Wanted: as much is answered as at the
best of times, what is not is refused at once and told rightly when to come back, and soon after all is as before.
"""

import asyncio
import time

import click
import httpx

from benchmarks.backend import headers
from benchmarks.flood import Answered, Flood, is_refusal, is_success, percentile_ms, steady_times
from benchmarks.occupied import BODY, JSON, MODEL, running_occupied
from benchmarks.report import Figure, Unit, at_least, at_most, write_section
from tests.running import RunningStack

FACTORS = (2, 5, 10)
ITEM_MS = 20.0
MAX_BATCH = 4
MAX_WAIT_MS = 2_000

#: Clients of the closed loop that finds the capacity: more than two batches, fewer than are ever refused.
CLIENTS = 32

#: Share of the capacity at which the stack counts as well, before and after.
EASY = 0.5

GOODPUT = 0.9
REFUSAL_MS = 10.0
BACK_WITHIN_S = 30.0
RETRY_ERROR = 0.3

#: Rows that wait when a client is told when to come back, seconds of work; what it says is compared with what happens.
BACKLOG_S = 15.0
DEADLINE_MS = 3_000


def measure(seconds: float, processes: int) -> list[Figure]:
    """Measure all of it, with loads of so many seconds."""
    with running_occupied(
        f"--web-processes={processes}", batch_ms=0, item_ms=ITEM_MS, max_batch=MAX_BATCH, max_wait_ms=MAX_WAIT_MS
    ) as stack:
        return asyncio.run(_measure(stack, seconds))


async def _measure(stack: RunningStack, seconds: float) -> list[Figure]:
    flood = Flood(f"{stack.url}/v1/models/{MODEL}/predictions", headers(stack, JSON), BODY)
    await flood.loop(CLIENTS, seconds)
    peak = sum(map(is_success, await flood.loop(CLIENTS, seconds))) / seconds
    easy_ms = percentile_ms(await flood.send(steady_times(EASY * peak, seconds)), 0.99)
    figures = [
        Figure(name="capacity, closed loop", value=peak, unit=Unit.PER_SECOND, note=f"{CLIENTS} clients"),
        Figure(name="p99 at half of it", value=easy_ms, unit=Unit.MS),
    ]
    for factor in FACTORS:
        answers = await flood.send(steady_times(factor * peak, seconds))
        figures += _overload_figures(factor, answers, peak, seconds)
    figures.append(await _measure_recovery(flood, peak, easy_ms))
    figures.append(await _measure_retry_after(stack, peak))
    flood.close()
    return figures


def _overload_figures(factor: int, answers: list[Answered], peak: float, seconds: float) -> list[Figure]:
    # What was accepted before the end is answered after it, by as long as it waited.
    ended = max(answer.due + answer.took_ms / 1000 for answer in answers if is_success(answer))
    lasted = max(seconds, ended - min(answer.due for answer in answers))
    good = sum(map(is_success, answers)) / lasted
    refused = sum(map(is_refusal, answers))
    others = len(answers) - refused - sum(map(is_success, answers))
    return [
        Figure(
            name=f"{factor} × capacity: answered",  # noqa: RUF001 - the sign for times
            value=good / peak * 100,
            unit=Unit.PERCENT,
            wanted=at_least(GOODPUT * 100),
            note=f"of the capacity; {refused:,} of {len(answers):,} refused, {others} anything else",
        ),
        Figure(
            name=f"{factor} × capacity: p99 of a refusal",  # noqa: RUF001
            value=percentile_ms(answers, 0.99, is_refusal),
            unit=Unit.MS,
            wanted=at_most(REFUSAL_MS),
            note=f"p50 {percentile_ms(answers, 0.5, is_refusal):.1f} ms",
        ),
        Figure(
            name=f"{factor} × capacity: p99 of an answer",  # noqa: RUF001
            value=percentile_ms(answers, 0.99, is_success),
            unit=Unit.MS,
            note=f"none is to wait longer than {MAX_WAIT_MS} ms for its turn",
        ),
    ]


async def _measure_recovery(flood: Flood, peak: float, easy_ms: float) -> Figure:
    """Tell when the last slow answer of an easy load came that began as the flood ended."""
    started = time.perf_counter()
    answers = await flood.send(steady_times(EASY * peak, BACK_WITHIN_S / 2))
    slow = [answer.due for answer in answers if not is_success(answer) or answer.took_ms > 1.5 * easy_ms]
    return Figure(
        name="after 10 × capacity: as before",  # noqa: RUF001
        value=max(slow, default=started) - started,
        unit=Unit.S,
        wanted=at_most(BACK_WITHIN_S),
        note="until the last answer beyond one and a half times the p99 of before, at half of the capacity",
    )


async def _measure_retry_after(stack: RunningStack, peak: float) -> Figure:
    """Fill the queue with bulk work, ask for an answer within seconds, and ask again until it is let in."""
    path = f"/v1/models/{MODEL}/predictions?priority=bulk"
    filling = Flood(f"{stack.url}{path}", {**headers(stack, JSON), "Prefer": "respond-async"}, BODY)
    await filling.send([time.perf_counter()] * round(BACKLOG_S * peak))
    filling.close()
    await asyncio.sleep(1.0)
    url = f"{path}&deadline_ms={DEADLINE_MS}"
    asking = {"Prefer": "respond-async", "Content-Type": JSON, "Authorization": f"Bearer {stack.admin_key}"}
    async with httpx.AsyncClient(base_url=stack.url, headers=asking) as client:
        refused = await client.post(url, content=BODY)
        said, started = int(refused.headers["Retry-After"]), time.monotonic()
        # Nobody tells when there is room: a client can only ask again.
        while not await _is_accepted(client, url):  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    was = time.monotonic() - started
    return Figure(
        name="Retry-After: off by",
        value=abs(said - was) / was * 100,
        unit=Unit.PERCENT,
        wanted=at_most(RETRY_ERROR * 100),
        note=f"said {said} s, was {was:.1f} s; a fifth of it is spread on purpose",
    )


async def _is_accepted(client: httpx.AsyncClient, url: str) -> bool:
    return (await client.post(url, content=BODY)).status_code == httpx.codes.ACCEPTED


@click.command()
@click.option("--seconds", type=click.FloatRange(2), default=20.0, show_default=True, help="Of each load.")
@click.option("--web-processes", type=click.IntRange(1), default=1, show_default=True)
def main(seconds: float, web_processes: int) -> None:
    """Measure, and print the table."""
    write_section("overload", measure(seconds, web_processes))


if __name__ == "__main__":
    main()
