"""``python -m benchmarks.waiting_rows``: what a claim costs while a million rows wait, and what a look at them does."""

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import click
from sqlalchemy import Connection, Engine, text

from benchmarks.report import Figure, Unit, at_most, write_section
from benchmarks.servers import migrated_database, running_postgres
from schemas.enums import WorkerRole
from store import ledger
from store.database import create_database
from store.ledger_rows import Claim, Outcome
from store.queue_load import read_queue_load
from store.workers import register_worker

MILLION = 1_000_000
FEW = 2_000
BATCH = 32
TENANTS = 50
CLAIM_MS = 5.0

#: As submissions write them, a thousand a second: one tenant after the other, each further behind its time; a tenth
#: interactive, half bulk.
ADD = text("""
    WITH numbered AS (
        SELECT i, i % :tenants + 1 AS tenant, i / :tenants AS turn,
            CASE WHEN i % 10 = 0 THEN 'interactive' WHEN i % 2 = 0 THEN 'bulk' ELSE 'normal' END AS priority
        FROM generate_series(1, :rows) i)
    INSERT INTO predictions (
        id, api_key_id, model_id, model_version_id, status, priority, input, claim_order, run_after)
    SELECT CAST(lpad(to_hex(CAST(extract(epoch FROM now()) * 1000 AS bigint) - :rows + i), 12, '0') || '7'
            || substr(md5(CAST(i AS text)), 1, 3) || '8' || substr(md5(CAST(i AS text)), 4, 15) AS uuid),
        tenant, v.model_id, v.id, 'queued', priority, '[0, 1]',
        now() + turn * interval '1 millisecond'
            + CASE priority WHEN 'bulk' THEN 600 WHEN 'normal' THEN 10 ELSE 0 END * interval '1 second', now()
    FROM numbered, model_versions v JOIN models m ON m.id = v.model_id WHERE m.name = 'xor'
""")


def measure(folder: Path, rows: int, claims: int) -> list[Figure]:
    """Measure with few rows, then with many."""
    with running_postgres(folder) as url, migrated_database(url, folder) as database, _connect(url, database) as worker:
        few = _measure_claims(worker, FEW, FEW // BATCH)
        many = _measure_claims(worker, rows, claims)
        looks = [_time_ms(lambda: read_queue_load(worker.results)) for _ in range(3)]
    return [
        Figure(name="p99 of a claim, 2,000 rows wait", value=_p99(few), unit=Unit.MS, note=_middle(few)),
        Figure(
            name=f"p99 of a claim, {rows:,} rows wait",
            value=_p99(many),
            unit=Unit.MS,
            wanted=at_most(CLAIM_MS),
            note=f"{BATCH} rows of {TENANTS} keys; {_middle(many)}",
        ),
        Figure(
            name=f"a look at all {rows:,}",
            value=min(looks),
            unit=Unit.MS,
            note="in the background, and no more often than every ten seconds",
        ),
    ]


@dataclass(frozen=True, kw_only=True)
class _Worker:
    """The connections of a worker: a crash may undo what the first commits."""

    id: int
    claims: Connection
    results: Connection


@contextmanager
def _connect(url: str, database: Engine) -> Iterator[_Worker]:
    unsafe = create_database(url, application="claims", for_claims=True)
    try:
        with unsafe.execution_options(isolation_level="AUTOCOMMIT").connect() as claims, database.connect() as results:
            worker_id = register_worker(
                claims, name="b", role=WorkerRole.INFERENCE, device="cpu:0", queue="b", host="b", pid=1
            )
            yield _Worker(id=worker_id, claims=claims, results=results)
    finally:
        unsafe.dispose()


def _measure_claims(worker: _Worker, rows: int, claims: int) -> list[float]:
    """Claim and complete batches as a worker does, and time the claims."""
    # Ours end what takes longer than a request may.
    worker.results.execute(text("SET statement_timeout = 0"))
    worker.results.execute(ADD, {"rows": rows, "tenants": TENANTS})
    worker.results.execute(text("ANALYZE predictions"))
    # Submissions write their rows over hours, not in the minute before.
    worker.results.execute(text("CHECKPOINT"))
    times = []
    for _ in range(claims):
        started = time.perf_counter()
        taken = ledger.claim(worker.claims, worker_id=worker.id, device="cpu:0", limit=BATCH)
        times.append((time.perf_counter() - started) * 1000)
        ledger.complete(worker.results, [_success(claim) for claim in taken])
    # The first plans, once for the life of a connection.
    return times[1:]


def _success(claim: Claim) -> Outcome:
    return Outcome(claim=claim, result={"label": "1", "score": 1.0})


def _time_ms(run: Callable[[], object]) -> float:
    started = time.perf_counter()
    run()
    return (time.perf_counter() - started) * 1000


def _p99(times: list[float]) -> float:
    return sorted(times)[int(len(times) * 0.99)]


def _middle(times: list[float]) -> str:
    return f"p50 {statistics.median(times):.2f} ms of {len(times):,} claims"


@click.command()
@click.option("--rows", type=click.IntRange(1_000), default=MILLION, show_default=True)
@click.option("--claims", type=click.IntRange(100), default=1_000, show_default=True)
def main(rows: int, claims: int) -> None:
    """Measure, and print the table."""
    with TemporaryDirectory(prefix="torchqueue-bench-") as folder:
        write_section("waiting-rows", measure(Path(folder), rows, claims))


if __name__ == "__main__":
    main()
