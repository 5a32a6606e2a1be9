"""``python -m benchmarks.noisy_key``: a key that sends twenty times its share, and what others notice.

The model takes as long for a batch as for one item, as a GPU does. Before and after, the noisy key sends its share.
"""

import asyncio

import click

from benchmarks.backend import headers
from benchmarks.flood import Answered, Flood, is_refusal, is_success, percentile_ms, steady_times
from benchmarks.occupied import BODY, JSON, MODEL, make_key, running_occupied
from benchmarks.report import Figure, Unit, at_most, write_section
from tests.running import RunningStack

BATCH_MS = 80.0
MAX_BATCH = 8
MAX_WAIT_MS = 2_000

#: Requests a second; the capacity is a hundred.
QUIET_PER_SECOND = 20.0
SHARE_PER_SECOND = 30.0
TIMES = 20
SLOWER = 1.25


def measure(seconds: float) -> list[Figure]:
    """Measure with loads of so many seconds."""
    with running_occupied(
        "--web-processes=1", batch_ms=BATCH_MS, item_ms=0.0, max_batch=MAX_BATCH, max_wait_ms=MAX_WAIT_MS
    ) as stack:
        return asyncio.run(_measure(stack, seconds))


async def _measure(stack: RunningStack, seconds: float) -> list[Figure]:
    quiet, noisy = _flood(stack, "quiet"), _flood(stack, "noisy")
    await _send_both(quiet, noisy, 1, seconds / 2)
    before, _ = await _send_both(quiet, noisy, 1, seconds)
    during, much = await _send_both(quiet, noisy, TIMES, seconds)
    quiet.close()
    noisy.close()
    p99_ms = percentile_ms(before, 0.99, is_success)
    refused = sum(map(is_refusal, much))
    return [
        Figure(name="p99 of a quiet key, another within its share", value=p99_ms, unit=Unit.MS),
        Figure(
            name=f"the same, the other at {TIMES} × its share",  # noqa: RUF001 - the sign for times
            value=percentile_ms(during, 0.99, is_success) / p99_ms,
            unit=Unit.RATIO,
            wanted=at_most(SLOWER),
            note=f"of the noisy key's {len(much):,} requests {refused:,} refused",
        ),
        Figure(
            name="requests of the quiet key not answered",
            value=sum(not is_success(answer) for answer in during),
            unit=Unit.COUNT,
            wanted=at_most(0),
            note=f"of {len(during):,}",
        ),
    ]


async def _send_both(quiet: Flood, noisy: Flood, times: int, seconds: float) -> tuple[list[Answered], list[Answered]]:
    found = await asyncio.gather(
        quiet.send(steady_times(QUIET_PER_SECOND, seconds)),
        noisy.send(steady_times(times * SHARE_PER_SECOND, seconds)),
    )
    return found[0], found[1]


def _flood(stack: RunningStack, name: str) -> Flood:
    key = {"Authorization": f"Bearer {make_key(stack, name)}"}
    return Flood(f"{stack.url}/v1/models/{MODEL}/predictions", {**headers(stack, JSON), **key}, BODY)


@click.command()
@click.option("--seconds", type=click.FloatRange(2), default=20.0, show_default=True, help="Of each load.")
def main(seconds: float) -> None:
    """Measure, and print the table."""
    write_section("noisy-key", measure(seconds))


if __name__ == "__main__":
    main()
