"""What readers that hold transactions open cost the queue: `python -m benchmarks.mvcc`.

A queue in Postgres updates each row twice within moments, and vacuum may not remove what somebody could still read. So
rows are submitted at a steady rate, claimed and completed in batches, first alone, then beside readers that each hold a
snapshot for two minutes, begun twenty seconds apart. Database alone, with the statements of the workers.
"""

import statistics
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import click
from sqlalchemy import Connection, Engine, text

from benchmarks.report import Figure, Unit, at_least, at_most, print_table
from benchmarks.servers import migrated_database, running_postgres
from schemas.enums import WorkerRole
from store import ledger
from store.database import create_database, open_session
from store.ledger_rows import Outcome
from store.models import ServedVersion, resolve
from store.postgres_health import read_health
from store.workers import register_worker
from tests.factories import submission

RATE = 800
READERS = 3
HOLD_S = 120.0
STAGGER_S = 20.0
SECONDS = 300.0

#: Submitted together, so that the generator costs little beside what it measures.
GROUP = 20
CLAIM = 64

ANSWER = {"label": "1", "score": 1.0, "top": [["1", 1.0]]}

HOT = text("""
    SELECT sum(n_tup_upd) AS updated, sum(n_tup_hot_upd) AS hot FROM pg_stat_user_tables
    WHERE relname ~ '^predictions_p'
""")


@dataclass
class Run:
    """What one phase saw.

    Attributes:
        completed: Predictions.
        seconds: It lasted.
        claims_ms: Each claim that found rows, milliseconds.
        dead_rows: At its end, as Postgres estimates them.
    """

    completed: int = 0
    seconds: float = 0.0
    claims_ms: list[float] = field(default_factory=list)
    dead_rows: int = 0

    @property
    def per_second(self) -> float:
        """Completed predictions a second."""
        return self.completed / self.seconds

    def claim_ms(self, percent: int) -> float:
        """A percentile of the claims, milliseconds."""
        return statistics.quantiles(self.claims_ms, n=100)[percent - 1]


def measure(seconds: float, rate: int, readers: int, folder: Path) -> list[Figure]:
    """Run alone, then beside readers."""
    with running_postgres(folder) as url, migrated_database(url, folder) as database:
        with open_session(database) as session:
            version = resolve(session, "xor")
        alone = _run(url, version, seconds, rate, readers=0)
        beside = _run(url, version, seconds, rate, readers=readers)
        with database.connect() as connection:
            row = connection.execute(HOT).one()
    note = f"{readers} readers hold {HOLD_S:.0f} s each; {seconds:.0f} s at {rate:,} a second"
    return [
        Figure(name="completed a second, alone", value=alone.per_second, unit=Unit.PER_SECOND),
        Figure(
            name="completed a second beside readers, of that alone",
            value=100.0 * beside.per_second / alone.per_second,
            unit=Unit.PERCENT,
            wanted=at_least(90.0),
            note=note,
        ),
        Figure(
            name="claim, 99th percentile, alone",
            value=alone.claim_ms(99),
            unit=Unit.MS,
            note=f"median {alone.claim_ms(50):.2f} ms",
        ),
        Figure(
            name="claim, 99th percentile, beside readers",
            value=beside.claim_ms(99),
            unit=Unit.MS,
            wanted=at_most(10.0),
            note=f"median {beside.claim_ms(50):.2f} ms; {beside.dead_rows:,} dead rows at the end",
        ),
        Figure(
            name="updates that touched no index (HOT)",
            value=100.0 * float(row.hot or 0) / float(row.updated or 1),
            unit=Unit.PERCENT,
            note="the status is in the queue's indexes",
        ),
    ]


def _run(url: str, version: ServedVersion, seconds: float, rate: int, *, readers: int) -> Run:
    run, over = Run(), threading.Event()
    engines = [create_database(url, application=name, pool_size=2) for name in ("submit", "work")]
    submit, work = (engine.execution_options(isolation_level="AUTOCOMMIT") for engine in engines)
    threads = [
        threading.Thread(target=_submit, args=[submit, version, rate, over]),
        threading.Thread(target=_work, args=[work, run, over]),
        *[threading.Thread(target=_hold, args=[url, STAGGER_S * index, over]) for index in range(readers)],
    ]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    over.wait(seconds)
    over.set()
    for thread in threads:
        thread.join()
    run.seconds = time.monotonic() - began
    with work.connect() as connection:
        run.dead_rows = sum(table.dead for table in read_health(connection).tables)
    for engine in engines:
        engine.dispose()
    return run


def _submit(database: Engine, version: ServedVersion, rate: int, over: threading.Event) -> None:
    """Submit at a steady rate, whatever becomes of it."""
    with database.connect() as connection:
        due = time.monotonic()
        while not over.is_set():
            ledger.submit(connection, [submission(version) for _ in range(GROUP)])
            due += GROUP / rate
            over.wait(max(0.0, due - time.monotonic()))


def _work(database: Engine, run: Run, over: threading.Event) -> None:
    """Claim and complete, as a worker without a network does."""
    with database.connect() as connection:
        worker_id = _register(connection)
        while not over.is_set():
            began = time.perf_counter()
            claims = ledger.claim(connection, worker_id=worker_id, device="cpu:0", limit=CLAIM)
            if not claims:
                over.wait(0.002)
                continue
            run.claims_ms.append((time.perf_counter() - began) * 1000.0)
            outcomes = [Outcome(claim=claim, result=ANSWER, decode_ms=0.1, compute_ms=0.1) for claim in claims]
            run.completed += len(ledger.complete(connection, outcomes))


def _register(connection: Connection) -> int:
    return register_worker(
        connection,
        name="benchmark",
        role=WorkerRole.INFERENCE,
        device="cpu:0",
        queue="benchmark",
        host="benchmark",
        pid=1,
    )


def _hold(url: str, after_s: float, over: threading.Event) -> None:
    """Hold a snapshot open, as a report or a backup does, again and again."""
    over.wait(after_s)
    with ExitStack() as stack:
        database = create_database(url, application="reader", pool_size=1)
        stack.callback(database.dispose)
        while not over.is_set():
            with database.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
                # Our own sessions may not do this; a report of somebody else's may.
                connection.execute(text("SET idle_in_transaction_session_timeout = 0"))
                connection.execute(text("SELECT count(*) FROM workers"))
                over.wait(HOLD_S)


@click.command()
@click.option("--seconds", type=click.FloatRange(5), default=SECONDS, show_default=True, help="Of each of two phases.")
@click.option("--rate", type=click.IntRange(1), default=RATE, show_default=True, help="Predictions a second.")
@click.option("--readers", type=click.IntRange(1), default=READERS, show_default=True)
def main(seconds: float, rate: int, readers: int) -> None:
    """Measure and print."""
    with TemporaryDirectory(prefix="torchqueue-bench-") as folder:
        print_table(measure(seconds, rate, readers, Path(folder)))


if __name__ == "__main__":
    main()
