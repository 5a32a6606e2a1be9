"""What keeps Postgres from tidying up after a queue: snapshots that stay open, and rows that nobody needs any more."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, text

#: No transaction of ours lasts fifteen seconds. One that holds its snapshot for so long is somebody else's, and every
#: claim reads past the dead rows that it keeps.
OLD_SNAPSHOT_S = 300.0

#: Dead rows beyond both of these are more than autovacuum leaves between two of its runs.
MANY_DEAD_ROWS = 50_000
DEAD_SHARE = 0.2

# A replication slot or a prepared transaction holds vacuum back like an open snapshot, but has no age in seconds.
OLDEST = text("""
    SELECT
        coalesce((SELECT max(extract(epoch FROM now() - xact_start)) FROM pg_stat_activity
            WHERE backend_xmin IS NOT NULL AND pid <> pg_backend_pid()), 0) AS seconds,
        greatest(
            coalesce((SELECT max(age(backend_xmin)) FROM pg_stat_activity WHERE pid <> pg_backend_pid()), 0),
            coalesce((SELECT max(greatest(age(xmin), age(catalog_xmin))) FROM pg_replication_slots), 0),
            coalesce((SELECT max(age(transaction)) FROM pg_prepared_xacts), 0)) AS transactions
""")

TABLES = text("""
    SELECT relname AS name, n_live_tup AS live, n_dead_tup AS dead FROM pg_stat_user_tables
    WHERE relname ~ '^predictions_p' OR relname IN ('workers', 'reaper_runs', 'idempotency_keys', 'trainings')
    ORDER BY relname
""")


@dataclass(frozen=True, kw_only=True, slots=True)
class TableHealth:
    """Rows of a hot table, as Postgres estimates them."""

    name: str
    live: int
    dead: int

    @property
    def is_bloated(self) -> bool:
        """Whether autovacuum does not keep up."""
        return self.dead > MANY_DEAD_ROWS and self.dead > DEAD_SHARE * self.live


@dataclass(frozen=True, kw_only=True, slots=True)
class PostgresHealth:
    """How far Postgres is behind with tidying up, and what holds it back.

    Attributes:
        oldest_snapshot_s: Age of the oldest transaction that holds a snapshot, in seconds.
        oldest_xmin_age: Transactions since the oldest that may still be read by anybody.
        tables: The hot ones.
    """

    oldest_snapshot_s: float
    oldest_xmin_age: int
    tables: Sequence[TableHealth]

    @property
    def old_snapshot(self) -> bool:
        """Whether somebody keeps a snapshot open for too long."""
        return self.oldest_snapshot_s > OLD_SNAPSHOT_S

    @property
    def bloated(self) -> list[TableHealth]:
        """The tables in which autovacuum does not keep up."""
        return [table for table in self.tables if table.is_bloated]


def read_health(connection: Connection) -> PostgresHealth:
    """Look into Postgres' own statistics; a role without `pg_monitor` sees its own sessions alone."""
    oldest = connection.execute(OLDEST).one()
    return PostgresHealth(
        oldest_snapshot_s=float(oldest.seconds),
        oldest_xmin_age=int(oldest.transactions),
        tables=[TableHealth(**row) for row in connection.execute(TABLES).mappings()],
    )
