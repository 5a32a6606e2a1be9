"""Alembic's entry point: migrates the database of `TORCHQUEUE_DATABASE_URL`, or the connection handed in."""

from typing import Any

from alembic import context
from sqlalchemy import Connection, create_engine, pool, text

from store.partitions import is_partition_name
from store.settings import Settings
from store.tables import metadata

TIMEOUTS = {
    # A migration that cannot get its lock at once must fail and be tried again, not queue all traffic behind it.
    "lock_timeout": "3s",
    # Requests are cut off after seconds; building an index takes longer.
    "statement_timeout": "10min",
}


def include_name(name: str | None, type_: str, _parents: Any) -> bool:
    """Leave partitions out of comparisons: a beat job makes and drops them."""
    return not (type_ == "table" and name is not None and is_partition_name(name))


def migrate(connection: Connection) -> None:
    """Run the asked migrations in one transaction each."""
    context.configure(
        connection=connection,
        target_metadata=metadata,
        include_name=include_name,
        compare_server_default=True,
        transaction_per_migration=True,
    )
    try:
        with context.begin_transaction():
            _run()
    finally:
        # The connection goes on to serve others.
        connection.rollback()
        for name in TIMEOUTS:
            connection.execute(text(f"RESET {name}"))
        connection.commit()


def main() -> None:
    """Write SQL in offline mode; otherwise migrate."""
    handed_in: Connection | None = context.config.attributes.get("connection")
    if context.is_offline_mode():
        context.configure(dialect_name="postgresql", target_metadata=metadata, literal_binds=True)
        with context.begin_transaction():
            _run()
    elif handed_in is not None:
        migrate(handed_in)
    else:
        engine = create_engine(Settings.from_env().database_url, poolclass=pool.NullPool)
        with engine.connect() as connection:
            migrate(connection)
            connection.commit()


def _run() -> None:
    for name, limit in TIMEOUTS.items():
        context.execute(f"SET {name} = '{limit}'")
    context.run_migrations()


main()
