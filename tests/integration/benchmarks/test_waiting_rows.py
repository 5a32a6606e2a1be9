"""Many rows that wait, in the order of their ids as they came: what a claim reads of them."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import Connection, text

from benchmarks.servers import add_database, migrated_database
from benchmarks.waiting_rows import ADD, BATCH
from store import ledger
from store.database import create_database
from store.ledger_rows import Claim

#: From here on Postgres takes it for cheaper to sort all that waits than to read it in order.
MANY = 100_000

#: Too few rows for autovacuum to look at within the time of a test, and enough to see who reads them all.
SOME = 5_000

READ = text("""
    SELECT CAST(sum(idx_tup_fetch) + sum(seq_tup_read) AS bigint) FROM pg_stat_xact_user_tables
    WHERE relname LIKE 'predictions_p%'
""")


@pytest.fixture
def url(postgres_url: str, tmp_path: Path) -> Iterator[str]:
    """A migrated database in which nothing waits yet."""
    url = add_database(postgres_url, f"waiting_{uuid4().hex}")
    with migrated_database(url, tmp_path):
        yield url


@pytest.fixture
def claims(url: str) -> Iterator[Connection]:
    """What a worker claims with."""
    database = create_database(url, application="tests", for_claims=True)
    with database.connect() as connection:
        yield connection
    database.dispose()


def test_a_claim_reads_hardly_more_than_it_takes(url: str, claims: Connection) -> None:
    with _connect(url) as connection, connection.begin():
        _add(connection, MANY)
        connection.execute(text("ANALYZE predictions"))

    with claims.begin():
        assert len(_claim(claims)) == BATCH
        assert _read(claims) < 10 * BATCH


def test_a_claim_planned_while_nothing_waited_reads_hardly_more_than_it_takes(url: str, claims: Connection) -> None:
    with claims.begin():
        assert _claim(claims) == []
    with _connect(url) as connection, connection.begin():
        _add(connection, SOME)

    with claims.begin():
        assert len(_claim(claims)) == BATCH
        assert _read(claims) < 10 * BATCH


@contextmanager
def _connect(url: str) -> Iterator[Connection]:
    database = create_database(url, application="tests")
    with database.connect() as connection:
        yield connection
    database.dispose()


def _add(connection: Connection, rows: int) -> None:
    connection.execute(text("SET LOCAL statement_timeout = 0"))
    connection.execute(ADD, {"rows": rows, "tenants": 2})


def _claim(connection: Connection) -> list[Claim]:
    return ledger.claim(connection, worker_id=1, device="cpu:0", limit=BATCH)


def _read(connection: Connection) -> int:
    return int(connection.execute(READ).scalar_one())
