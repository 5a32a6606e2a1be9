"""Many rows that wait, in the order of their ids as they came: what a claim reads of them."""

import pytest
from sqlalchemy import Engine, text

from benchmarks.servers import add_database, migrated_database
from benchmarks.waiting_rows import ADD, BATCH
from store import ledger
from store.database import create_database

#: From here on Postgres takes it for cheaper to sort all that waits than to read it in order.
MANY = 100_000

READ = text("""
    SELECT CAST(sum(idx_tup_fetch) + sum(seq_tup_read) AS bigint) FROM pg_stat_xact_user_tables
    WHERE relname LIKE 'predictions_p%'
""")


@pytest.fixture
def claims(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Engine:
    """What a worker claims with, where many rows wait."""
    url = add_database(postgres_url, "waiting")
    with migrated_database(url, tmp_path_factory.mktemp("waiting")) as database, database.connect() as connection:
        connection.execute(text("SET statement_timeout = 0"))
        connection.execute(ADD, {"rows": MANY, "tenants": 2})
        connection.execute(text("ANALYZE predictions"))
    return create_database(url, application="tests", for_claims=True)


def test_a_claim_reads_hardly_more_than_it_takes(claims: Engine) -> None:
    with claims.connect() as connection, connection.begin():
        taken = ledger.claim(connection, worker_id=1, device="cpu:0", limit=BATCH)
        read = connection.execute(READ).scalar_one()
    claims.dispose()

    assert len(taken) == BATCH
    assert read < 10 * BATCH
