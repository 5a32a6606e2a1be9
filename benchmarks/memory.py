"""What ten million stored predictions cost those who read, submit and claim: `python -m benchmarks.memory`.

Fills an embedded Postgres by `benchmarks.history` (or takes the folder of an earlier run), times every read that the
API offers on a warm connection, and compares the rates of submitting, claiming and completing with those of an empty
database of the same server, in turn, so that a busy machine slows both alike. Times are those of the statements, in
milliseconds, planning and the way to the server and back included; what Python does with the rows is not in them.
"""

import random
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any
from uuid import UUID

import click
from sqlalchemy import Connection, Engine, event, text
from sqlalchemy.orm import Session
from uuid_utils.compat import uuid7

from benchmarks.history import BUSY_ROWS, DEFAULT_ROWS, History, add_busy_minute, make_history, read_history
from benchmarks.report import Figure, Unit, at_least, at_most, write_section
from benchmarks.servers import add_database, migrated_database, running_postgres
from schemas.enums import PredictionStatus, WorkerRole
from store import ledger
from store.database import HeldConnection, create_database
from store.errors import UnknownItemError
from store.ledger_rows import Outcome, Submission
from store.models import ServedVersion, resolve
from store.predictions import (
    PredictionFilter,
    get_prediction,
    list_item_predictions,
    list_predictions,
    queue_position,
)
from store.stats import finished_per_second, model_stats, queue_depths, summarize_finished
from store.workers import register_worker

SECTION = "memory"
PAGE = 20
CALLS = 1_000
WARM_UP_CALLS = 20

#: Rows that parameters are drawn from, however few the calls: of a handful, none might be about an item.
LEAST_DRAWN = 200

READ_MS = 2.0
STATS_MS = 50.0

#: Rows of one statement while rates are measured, as a busy web process and a worker have them.
GROUP = 64
ROUNDS = 40
GROUPS_PER_ROUND = 10
KEPT_RATE = 0.9

#: Rows that wait while the position in the queue is asked for.
QUEUED = 2_000

ANSWER = {"label": "1", "score": 0.9987, "top": [["1", 0.9987], ["0", 0.0013]]}


@dataclass(frozen=True, kw_only=True)
class Timing:
    """The statements of one read, milliseconds."""

    name: str
    p50_ms: float
    p99_ms: float


@dataclass(frozen=True, kw_only=True)
class Sample:
    """What the reads ask for, drawn from the rows."""

    ids: list[UUID]
    items: list[tuple[str, str]]
    busiest_item: tuple[str, str]
    models: list[tuple[str, int]]
    api_key_ids: list[int]
    moments: list[datetime]


@dataclass
class Stopwatch:
    """Adds up how long the statements of an engine take."""

    spent_s: float = 0.0
    _started: float = field(default=0.0, init=False)

    def start(self, *_: Any) -> None:
        """A statement begins."""
        self._started = time.perf_counter()

    def stop(self, *_: Any) -> None:
        """It ended."""
        self.spent_s += time.perf_counter() - self._started

    @contextmanager
    def watch(self, database: Engine) -> Iterator["Stopwatch"]:
        """Listen while the block runs."""
        event.listen(database, "before_cursor_execute", self.start)
        event.listen(database, "after_cursor_execute", self.stop)
        try:
            yield self
        finally:
            event.remove(database, "before_cursor_execute", self.start)
            event.remove(database, "after_cursor_execute", self.stop)


def draw_sample(connection: Connection, count: int) -> Sample:
    """Draw ids and items as often as they occur in the rows, so that what is asked about often is asked for often."""
    drawn = connection.execute(
        text("""
            SELECT p.id, p.created_at, p.api_key_id, i.catalog, i.external_id
            FROM predictions p TABLESAMPLE SYSTEM (:percent) LEFT JOIN items i ON i.id = p.item_id
            ORDER BY random() LIMIT :count
        """),
        {"count": count, "percent": min(100.0, 100.0 * 50 * count / max(1, _estimate_rows(connection)))},
    ).all()
    busiest = text("SELECT catalog, external_id FROM items ORDER BY id LIMIT 1")
    versions = text("SELECT m.name, v.number FROM model_versions v JOIN models m ON m.id = v.model_id ORDER BY 1, 2")
    return Sample(
        ids=[row.id for row in drawn],
        items=[(row.catalog, row.external_id) for row in drawn if row.catalog is not None],
        busiest_item=tuple(connection.execute(busiest).one()),
        models=[(row.name, row.number) for row in connection.execute(versions)],
        api_key_ids=sorted({row.api_key_id for row in drawn}),
        moments=[row.created_at for row in drawn],
    )


def reads(session: Session, sample: Sample) -> dict[str, Callable[[], object]]:
    """Name what the API reads, each as a call that draws its own parameters."""
    connection = session.connection()
    pick = random.Random(1).choice  # noqa: S311 - nothing here is a secret
    listing = partial(list_predictions, session, api_key_id=None, before=None, limit=PAGE)
    waiting = get_prediction(session, _last_queued(connection), api_key_id=None)
    # The figures of the last minute first, while it is the busy one.
    found: dict[str, Callable[[], object]] = {
        "statistics": lambda: model_stats(connection),
        "queues": lambda: queue_depths(connection),
        "position in the queue": lambda: queue_position(session, waiting),
        "finished a second": lambda: finished_per_second(connection),
        "a prediction by id": lambda: get_prediction(session, pick(sample.ids), api_key_id=None),
        "an item's predictions": lambda: _item_page(session, pick(sample.items)),
        "an item's predictions, next page": lambda: _item_page(session, pick(sample.items), before=pick(sample.ids)),
        "the busiest item's predictions": lambda: _item_page(session, sample.busiest_item),
        "the list": lambda: listing(PredictionFilter()),
        "the list, from a page in the middle": lambda: list_predictions(
            session, PredictionFilter(), api_key_id=None, before=pick(sample.ids), limit=PAGE
        ),
        "the list of one key": lambda: list_predictions(
            session, PredictionFilter(), api_key_id=pick(sample.api_key_ids), before=None, limit=PAGE
        ),
        "the list of a key that has none": lambda: list_predictions(
            session, PredictionFilter(), api_key_id=0, before=None, limit=PAGE
        ),
        "the list of one model": lambda: listing(PredictionFilter(model=pick(sample.models)[0])),
        "the list of one version": lambda: listing(_of_version(pick(sample.models))),
        "the list of a version and a key": lambda: list_predictions(
            session, _of_version(pick(sample.models)), api_key_id=pick(sample.api_key_ids), before=None, limit=PAGE
        ),
        "the list of a day": lambda: listing(_of_day(pick(sample.moments))),
    }
    for status in PredictionStatus:
        found[f"the list of {status}"] = partial(listing, PredictionFilter(status=status))
    return found


def time_reads(database: Engine, calls: int) -> list[Timing]:
    """Time every read on one warm connection."""
    stopwatch = Stopwatch()
    with Session(database) as session, stopwatch.watch(database):
        sample = draw_sample(session.connection(), max(calls, LEAST_DRAWN))
        return [_time_read(session, stopwatch, name, read, calls) for name, read in reads(session, sample).items()]


def compare_rates(empty: Engine, filled: Engine, rounds: int) -> dict[str, float]:
    """Submit, claim and complete in both databases in turn.

    Returns:
        By step, the median of the rates that the filled database kept of the empty one's, 1.0 when it lost nothing.
    """
    rates: dict[str, list[float]] = {"submit": [], "claim": [], "complete": []}
    sides = [_Ledger(empty), _Ledger(filled)]
    for side in sides:
        side.run_round()
    for number in range(rounds):
        # Whoever goes second finds a warmer processor: they take turns.
        order = sides if number % 2 else sides[::-1]
        spent = {side: side.run_round() for side in order}
        for step, kept in rates.items():
            kept.append(spent[sides[0]][step] / spent[sides[1]][step])
    for side in sides:
        side.close()
    return {step: median(kept) for step, kept in rates.items()}


def to_figures(rows: int, timings: list[Timing], kept: dict[str, float]) -> list[Figure]:
    """Name the measured for the report's table; only the issue's own promises have a bound."""
    bounds = {
        "a prediction by id": READ_MS,
        "an item's predictions": READ_MS,
        "the busiest item's predictions": READ_MS,
    }
    bounds["statistics"] = STATS_MS
    figures = [
        Figure(
            name=f"{rows:,} predictions stored: {timing.name}, p99 in the database",
            value=timing.p99_ms,
            unit=Unit.MS,
            wanted=at_most(bounds[timing.name]) if timing.name in bounds else None,
            note=f"p50 {timing.p50_ms:.2f} ms",
        )
        for timing in timings
    ]
    return figures + [
        Figure(
            name=f"{rows:,} predictions stored: rate of {step}, over an empty database",
            value=share * 100,
            unit=Unit.PERCENT,
            wanted=None if step == "complete" else at_least(KEPT_RATE * 100),
        )
        for step, share in kept.items()
    ]


def measure(folder: Path, rows: int, *, calls: int = CALLS, rounds: int = ROUNDS) -> list[Figure]:
    """Fill the folder's database unless an earlier run did, and measure."""
    with running_postgres(folder) as url, migrated_database(url, folder) as filled:
        with filled.connect() as connection:
            there = _estimate_rows(connection)
            history = read_history(connection) if there >= rows // 2 else None
        if history is None:
            history = make_history(filled, rows)
        with migrated_database(add_database(url, "empty"), folder) as empty:
            kept = compare_rates(empty, filled, rounds)
        _keep_busy(filled, history)
        return to_figures(history.rows, time_reads(filled, calls), kept)


class _Ledger:
    """One database of the comparison: rounds of groups through the ledger, as web process and worker run it."""

    def __init__(self, database: Engine) -> None:
        self._held = HeldConnection(database)
        self._claiming = create_database(database.url, application="benchmark-claims", pool_size=1, for_claims=True)
        self._claims = HeldConnection(self._claiming)
        with Session(database) as session:
            self._version = resolve(session, "xor")
        with database.connect() as connection:
            self._worker = register_worker(
                connection, name="bench", role=WorkerRole.INFERENCE, device="cpu:0", queue="bench", host="bench", pid=1
            )

    def run_round(self) -> dict[str, float]:
        """Move groups from submission to the end; returns the seconds by step."""
        spent = dict.fromkeys(("submit", "claim", "complete"), 0.0)
        with self._held.use() as connection, self._claims.use() as claiming:
            for _ in range(GROUPS_PER_ROUND):
                group = make_group(self._version)
                at = [time.perf_counter()]
                ledger.submit(connection, group)
                at.append(time.perf_counter())
                claims = ledger.claim(claiming, worker_id=self._worker, device="cpu:0", limit=GROUP)
                at.append(time.perf_counter())
                ledger.complete(connection, [Outcome(claim=claim, result=ANSWER) for claim in claims])
                at.append(time.perf_counter())
                for step, start, end in zip(spent, at, at[1:], strict=False):
                    spent[step] += end - start
        return spent

    def close(self) -> None:
        self._held.close()
        self._claims.close()
        self._claiming.dispose()


def make_group(version: ServedVersion, count: int = GROUP) -> list[Submission]:
    """Make a group of submissions as a busy web process commits it."""
    return [
        Submission(
            id=uuid7(),
            api_key_id=1,
            model_id=version.model_id,
            model_version_id=version.model_version_id,
            reply_channel="torchqueue:replies:bench-1",
            input=[0.0, 1.0],
        )
        for _ in range(count)
    ]


def _keep_busy(database: Engine, history: History) -> None:
    """Leave rows that wait, and a last minute at full rate with its statistics as the maintenance worker keeps them."""
    with database.connect() as connection, Session(database) as session:
        add_busy_minute(connection, history, rows=min(BUSY_ROWS, history.rows // 10))
        version = resolve(session, "xor")
        for _ in range(QUEUED // GROUP):
            ledger.submit(connection, make_group(version))
    with database.execution_options(isolation_level="READ COMMITTED").begin() as transaction:
        summarize_finished(transaction)


def _time_read(session: Session, stopwatch: Stopwatch, name: str, read: Callable[[], object], calls: int) -> Timing:
    times = []
    for _ in range(WARM_UP_CALLS + calls):
        # A request has a session of its own; what an earlier one read must not spare this one a statement.
        session.expunge_all()
        stopwatch.spent_s = 0.0
        read()
        times.append(stopwatch.spent_s * 1000)
    times = sorted(times[WARM_UP_CALLS:])
    return Timing(name=name, p50_ms=median(times), p99_ms=times[int(len(times) * 0.99)])


def _item_page(session: Session, item: tuple[str, str], before: UUID | None = None) -> object:
    try:
        return list_item_predictions(
            session, catalog=item[0], external_id=item[1], api_key_id=None, before=before, limit=PAGE
        )
    except UnknownItemError:
        return []


def _of_version(chosen: tuple[str, int]) -> PredictionFilter:
    return PredictionFilter(model=chosen[0], version=chosen[1])


def _of_day(moment: datetime) -> PredictionFilter:
    return PredictionFilter(created_after=moment, created_before=moment + timedelta(days=1))


def _last_queued(connection: Connection) -> UUID:
    found = text("SELECT id FROM predictions WHERE status = 'queued' ORDER BY claim_order DESC LIMIT 1")
    last: UUID = connection.execute(found).scalar_one()
    return last


def _estimate_rows(connection: Connection) -> int:
    counted = text("""
        SELECT coalesce(sum(greatest(c.reltuples, 0)), 0) FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = 'predictions'::regclass
    """)
    return int(connection.execute(counted).scalar_one())


@click.command()
@click.option("--rows", type=click.IntRange(1_000), default=DEFAULT_ROWS, show_default=True)
@click.option("--var", "folder", type=click.Path(path_type=Path), help="Keep the filled database here for later runs.")
@click.option("--calls", type=click.IntRange(100), default=CALLS, show_default=True, help="Of each read.")
@click.option("--rounds", type=click.IntRange(1), default=ROUNDS, show_default=True, help="Of the comparison.")
def main(rows: int, folder: Path | None, calls: int, rounds: int) -> None:
    """Measure what a large history costs."""
    with tempfile.TemporaryDirectory(prefix="torchqueue-bench-") as temporary:
        path = folder or Path(temporary)
        path.mkdir(parents=True, exist_ok=True)
        write_section(SECTION, measure(path, rows, calls=calls, rounds=rounds))


if __name__ == "__main__":
    main()
