"""Promotions and rollbacks under load: how soon every worker and every answer follows, and whether any request fails.

`python -m benchmarks.promotion`. Each promotion is of a version that no worker has loaded before. Versions have the
same weights and labels of their own, so that each answer tells whether the version that it names computed it.
"""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from threading import Event, Thread

import click
import httpx
from sqlalchemy import Engine as Database

from benchmarks.backend import headers, prediction_url, running_backend, wait_for_model
from benchmarks.report import Figure, Unit, at_most, print_table
from store.database import create_database, open_session
from store.models import get_version, register_version
from tests.running import SAMPLES, RunningStack, wait_until

MODEL = "fashion"
PHOTO = (SAMPLES / "sandal-01.png").read_bytes()
PHOTO_TYPE = "image/png"

SEEN_WITHIN_S = 2.0

CHANGES = 20
WORKERS = 2

#: Of what the backend and this client do together when they do nothing but that.
LOAD_SHARE = 0.7

CLIENTS = 16
WARM_UP_S = 6.0
CAPACITY_S = 6.0

#: A change is given so long before the next begins; what takes longer is seen all the same.
BETWEEN_S = 2.5
CHANGE_TIMEOUT_S = 30.0

TIMEOUT_S = 30.0

#: More than are ever open at once while the backend keeps up.
CONNECTIONS = 256


@dataclass(frozen=True, slots=True)
class Seen:
    """An answer: when its request was sent, how long it took, which version it names and which its label is of."""

    sent_at: float
    took_s: float
    version: int
    labelled: int


@dataclass
class Met:
    """What the clients met."""

    answers: list[Seen] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    @property
    def mixed(self) -> int:
        """Answers whose label is of another version than they name."""
        return sum(answer.version != answer.labelled for answer in self.answers)

    def percentile_ms(self, share: float) -> float:
        """The time within which this share of the answers came, counted from when each was due."""
        times = sorted(answer.took_s for answer in self.answers)
        return 1000 * times[min(len(times) - 1, int(len(times) * share))] if times else 0.0

    def last_of_another(self, number: int, since: float, until: float) -> float:
        """Seconds after which no request that was sent was answered by another version."""
        late = [
            answer.sent_at - since
            for answer in self.answers
            if since <= answer.sent_at < until and answer.version != number
        ]
        return max(late, default=0.0)


@dataclass(frozen=True, slots=True)
class Change:
    """A promotion or a rollback: the version it leads to, when it was asked for, and when the workers all held it."""

    number: int
    asked_at: float
    held_after_s: float


def measure(changes: int, workers: int) -> list[Figure]:
    """Promote new versions and go back in turn, under load."""
    with running_backend(f"--workers={workers}", "--web-processes=1") as stack:
        wait_for_model(stack, MODEL, PHOTO, PHOTO_TYPE)
        with _database(stack) as database:
            numbers = [_register(database) for _ in range((changes + 1) // 2)]
        # Each size of batch is slow the first time; at the rate of those, 70 % would be next to nothing.
        asyncio.run(_send_at_most(stack, WARM_UP_S))
        capacity = asyncio.run(_send_at_most(stack, CAPACITY_S))
        met, rate = Met(), LOAD_SHARE * capacity
        with _load(stack, met, rate):
            time.sleep(BETWEEN_S)
            made = list(_change(stack, changes, numbers))
    return _figures(met, made, rate, workers)


@contextmanager
def _load(stack: RunningStack, met: Met, per_second: float) -> Iterator[None]:
    """Send photos at a constant rate while the block runs."""
    ended = Event()
    thread = Thread(target=lambda: asyncio.run(_send_steadily(stack, met, per_second, ended)))
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


async def _send_steadily(stack: RunningStack, met: Met, per_second: float, ended: Event) -> None:
    url, began, sending = prediction_url(stack, MODEL), time.monotonic(), []
    async with _client(stack) as client:
        for number in count():
            due = began + number / per_second
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            if ended.is_set():
                break
            sending.append(asyncio.create_task(_ask(client, url, due, met)))
        await asyncio.gather(*sending)


async def _send_at_most(stack: RunningStack, seconds: float) -> float:
    """Send as much as `CLIENTS` clients can; returns the rate."""
    met, url, until = Met(), prediction_url(stack, MODEL), time.monotonic() + seconds

    async def keep_asking(client: httpx.AsyncClient) -> None:
        while time.monotonic() < until:
            await _ask(client, url, time.monotonic(), met)

    async with _client(stack) as client:
        await asyncio.gather(*(keep_asking(client) for _ in range(CLIENTS)))
    return len(met.answers) / seconds


def _client(stack: RunningStack) -> httpx.AsyncClient:
    limits = httpx.Limits(max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS)
    asked = {**headers(stack, PHOTO_TYPE), "Prefer": "wait=30"}
    return httpx.AsyncClient(timeout=TIMEOUT_S, limits=limits, headers=asked)


async def _ask(client: httpx.AsyncClient, url: str, due: float, met: Met) -> None:
    try:
        sent_at = time.monotonic()
        response = await client.post(url, content=PHOTO)
    except httpx.HTTPError as error:
        met.failures.append(type(error).__name__)
        return
    body = response.json()
    if response.status_code != httpx.codes.OK or body["status"] != "succeeded":
        met.failures.append(f"{response.status_code} {body.get('error') or body.get('detail') or body.get('status')}")
        return
    label = str(body["result"]["label"])
    labelled = int(label.rpartition("/")[2]) if "/" in label else 1
    met.answers.append(Seen(sent_at, time.monotonic() - due, body["version"], labelled))


def _change(stack: RunningStack, changes: int, numbers: list[int]) -> Iterator[Change]:
    waiting = iter(numbers)
    for turn in range(changes):
        began = time.monotonic()
        number = next(waiting) if turn % 2 == 0 else 1
        path = f"versions/{number}/promote" if turn % 2 == 0 else "rollback"
        response = stack.client.post(
            f"/v1/models/{MODEL}/{path}", json={"reason": "to be measured"}, headers={"Prefer": "wait=30"}
        )
        assert response.json().get("champion") == number, response.text
        wait_until(partial(_all_hold, stack, number), CHANGE_TIMEOUT_S)
        yield Change(number, began, time.monotonic() - began)
        time.sleep(max(0.0, began + BETWEEN_S - time.monotonic()))


def _all_hold(stack: RunningStack, number: int) -> bool:
    workers = stack.client.get("/v1/workers").json()["data"]
    return all(f"{MODEL}/{number}" in worker["models"] for worker in workers if worker["role"] == "inference")


def _register(database: Database) -> int:
    """Register a version whose labels carry its number."""
    with open_session(database) as session:
        first = get_version(session, MODEL, 1)
        version = register_version(
            session,
            name=MODEL,
            kind=first.model.kind,
            config=first.config,
            weights_sha256=first.weights_sha256,
            weights_bytes=first.weights_bytes,
            metrics={},
            source="imported",
            parent_id=first.id,
        )
        marked = [f"{label}/{version.number}" for label in first.config["labels"]]
        version.config = {**first.config, "labels": marked}
        return version.number


@contextmanager
def _database(stack: RunningStack) -> Iterator[Database]:
    database = create_database(stack.settings["TORCHQUEUE_DATABASE_URL"], application="benchmark")
    yield database
    database.dispose()


def _figures(met: Met, made: list[Change], rate: float, workers: int) -> list[Figure]:
    ends = [*(change.asked_at for change in made[1:]), float("inf")]
    switched = [
        met.last_of_another(change.number, change.asked_at, end) for change, end in zip(made, ends, strict=True)
    ]
    loads = [change.held_after_s for change in made[::2]]
    title = f"{len(made)} promotions and rollbacks at {rate:.0f} photos/s"
    kinds = ", ".join(sorted(set(met.failures)))
    answered = f"{len(met.answers):,} answered, {workers} workers; {kinds or 'p99 from when each was due'}"
    return [
        Figure(
            name=f"{title}: failed requests",
            value=len(met.failures),
            unit=Unit.COUNT,
            wanted=at_most(0),
            note=answered,
        ),
        Figure(name="  answers of mixed versions", value=met.mixed, unit=Unit.COUNT, wanted=at_most(0)),
        Figure(
            name="  slowest until every worker held it",
            value=max(loads),
            unit=Unit.S,
            wanted=at_most(SEEN_WITHIN_S),
            note=f"new to all of them; mean {sum(loads) / len(loads):.2f} s",
        ),
        Figure(
            name="  slowest until every answer was its own",
            value=max(switched),
            unit=Unit.S,
            wanted=at_most(SEEN_WITHIN_S),
            note=f"mean {sum(switched) / len(switched):.2f} s",
        ),
        Figure(
            name="  p99 meanwhile",
            value=met.percentile_ms(0.99),
            unit=Unit.MS,
            note=f"p50 {met.percentile_ms(0.5):.0f} ms",
        ),
    ]


@click.command()
@click.option("--changes", type=click.IntRange(1), default=CHANGES, show_default=True, help="Promotions and rollbacks.")
@click.option("--workers", type=click.IntRange(1), default=WORKERS, show_default=True)
def main(changes: int, workers: int) -> None:
    """Measure promotions and rollbacks under load."""
    print_table(measure(changes, workers))


if __name__ == "__main__":
    main()
