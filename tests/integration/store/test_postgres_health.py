"""`store.postgres_health`: what keeps Postgres from tidying up."""

from sqlalchemy import Connection, text
from sqlalchemy import Engine as Database

from store.postgres_health import MANY_DEAD_ROWS, OLD_SNAPSHOT_S, PostgresHealth, TableHealth, read_health


def test_the_partitions_of_the_queue_are_watched(connection: Connection) -> None:
    tables = [table.name for table in read_health(connection).tables]

    assert "workers" in tables
    assert any(name.startswith("predictions_p") for name in tables)


def test_an_open_snapshot_of_somebody_else_has_an_age(connection: Connection, database: Database) -> None:
    with database.connect() as other:
        other.execution_options(isolation_level="REPEATABLE READ")
        other.execute(text("SELECT count(*) FROM workers"))
        with database.connect() as writer, writer.begin():
            writer.execute(text("SELECT txid_current()"))

        health = read_health(connection)

    assert health.oldest_snapshot_s > 0
    assert health.oldest_xmin_age >= 1


def test_a_snapshot_that_stays_open_is_an_alarm() -> None:
    assert health(oldest_snapshot_s=OLD_SNAPSHOT_S + 1).old_snapshot
    assert not health(oldest_snapshot_s=OLD_SNAPSHOT_S - 1).old_snapshot


def test_many_dead_rows_are_an_alarm_where_they_are_a_large_share() -> None:
    few, many = MANY_DEAD_ROWS, MANY_DEAD_ROWS + 1

    assert table(live=1000, dead=many).is_bloated
    assert not table(live=100 * many, dead=many).is_bloated
    assert not table(live=0, dead=few).is_bloated


def test_no_connection_of_ours_waits_long_for_a_lock_or_a_statement(connection: Connection) -> None:
    limits = {
        name: connection.execute(text(f"SHOW {name}")).scalar_one()
        for name in ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")
    }

    assert limits == {
        "statement_timeout": "5s",
        "lock_timeout": "3s",
        "idle_in_transaction_session_timeout": "10s",
    }


def test_partitions_leave_room_for_new_versions_of_rows_and_are_vacuumed_often(connection: Connection) -> None:
    options = text("""
        SELECT DISTINCT reloptions FROM pg_class c JOIN pg_inherits i ON i.inhrelid = c.oid
        WHERE i.inhparent = 'predictions'::regclass
    """)

    [found] = connection.execute(options).scalars().all()

    assert {"fillfactor=70", "autovacuum_vacuum_scale_factor=0.01"} <= set(found)


def health(**changes: float) -> PostgresHealth:
    return PostgresHealth(**{"oldest_snapshot_s": 0.0, "oldest_xmin_age": 0, "tables": []} | changes)  # type: ignore[arg-type]


def table(*, live: int, dead: int) -> TableHealth:
    return TableHealth(name="predictions_p2026w47", live=live, dead=dead)
