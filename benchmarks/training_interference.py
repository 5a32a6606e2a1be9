"""What a training on the same machine costs those who ask: the slowest answers with and without it.

`python -m benchmarks.training_interference`. Photos at a constant rate, without and with a training of the same model.
A training that did not compute from the first of these photos to the last gives no figures but an error.
"""

import asyncio
import time
from collections.abc import Mapping
from typing import Any

import click

from benchmarks.backend import headers, prediction_url, running_backend, wait_for_model
from benchmarks.open_loop import Steady, send_steadily
from benchmarks.report import Figure, Unit, at_most, print_table
from tests.running import SAMPLES, RunningStack, wait_until

MODEL = "fashion"
PHOTO = (SAMPLES / "sandal-01.png").read_bytes()
PHOTO_TYPE = "image/png"

SLOWER_AT_MOST = 2.0

#: Photos a second; below what one CPU worker answers on two slow cores, since a queue would hide the training.
RATE = 20.0
SECONDS = 20.0
WARM_UP_S = 5.0

#: Importing torch and reading the data takes as many cores as training does, so it is waited for.
START_TIMEOUT_S = 120.0


def measure(rate: float, seconds: float) -> list[Figure]:
    """Load the backend twice, the second time with a training beside it."""
    with running_backend("--workers=1", "--web-processes=1") as stack:
        wait_for_model(stack, MODEL, PHOTO, PHOTO_TYPE)
        _load(stack, rate, WARM_UP_S)
        alone = _load(stack, rate, seconds)
        path = _train(stack)
        before = stack.client.get(path).json()
        beside = _load(stack, rate, seconds)
        after = stack.client.get(path).json()
        stack.client.post(f"{path}/cancel")
    steps = count_steps(before, after)
    p99 = {name: met.percentile_ms(0.99) for name, met in (("alone", alone), ("beside", beside))}
    medians = f"median {alone.percentile_ms(0.5):.1f} ms alone, {beside.percentile_ms(0.5):.1f} ms beside"
    return [
        Figure(
            name="p99 beside a training, as a multiple of p99 without it",
            value=p99["beside"] / p99["alone"],
            unit=Unit.RATIO,
            wanted=at_most(SLOWER_AT_MOST),
            note=f"{p99['alone']:.1f} ms alone, {p99['beside']:.1f} ms beside; {medians}; {rate:.0f} photos/s; "
            f"the training computed {steps} steps, from the first photo to the last",
        ),
        Figure(
            name="failed requests beside a training",
            value=beside.failures.total(),
            unit=Unit.COUNT,
            wanted=at_most(0),
            note=f"of {len(beside.times_ms)}",
        ),
    ]


def count_steps(before: Mapping[str, Any], after: Mapping[str, Any]) -> int:
    """Return how many steps a training computed between two looks at it.

    Raises:
        click.ClickException: It did not compute all the time: it ended, was begun anew, or stood still.
    """
    ran = after["status"] == before["status"] == "processing" and after["attempt"] == before["attempt"]
    steps = after["progress"]["step"] - before["progress"]["step"]
    if not ran or steps <= 0:
        raise click.ClickException(
            f"nothing was measured beside a training: it was {after['status']} at the end, on attempt "
            f"{after['attempt']} after {before['attempt']}, {steps} steps further; measure for less time"
        )
    return int(steps)


def _load(stack: RunningStack, rate: float, seconds: float) -> Steady:
    sending = send_steadily(
        prediction_url(stack, MODEL), [PHOTO], headers(stack, PHOTO_TYPE), per_second=rate, seconds=seconds
    )
    return asyncio.run(sending)


def _train(stack: RunningStack) -> str:
    """Begin a training that outlasts the load; returns its path as soon as it computes."""
    response = stack.client.post(f"/v1/models/{MODEL}/trainings", json={"epochs": 500, "feedback": "none"})
    path = response.raise_for_status().headers["Location"]
    wait_until(lambda: stack.client.get(path).json()["progress"] is not None, START_TIMEOUT_S)
    time.sleep(1)
    return str(path)


@click.command()
@click.option("--rate", type=click.FloatRange(1), default=RATE, show_default=True, help="Photos a second.")
@click.option("--seconds", type=click.FloatRange(1), default=SECONDS, show_default=True)
def main(rate: float, seconds: float) -> None:
    """Measure and print."""
    print_table(measure(rate, seconds))


if __name__ == "__main__":
    main()
