"""Alembic's entry point: migrates the database of `TORCHQUEUE_DATABASE_URL`, or the connection handed in."""

from typing import Any

from alembic import context
from sqlalchemy import Connection, create_engine, pool

from store.partitions import is_partition_name
from store.settings import Settings
from store.tables.registry import metadata

# A migration that cannot get its lock at once must fail and be tried again, not queue all traffic behind it.
LOCK_TIMEOUT_MS = 3_000


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
    with context.begin_transaction():
        context.execute(f"SET lock_timeout = {LOCK_TIMEOUT_MS}")
        context.run_migrations()


def main() -> None:
    """Write SQL in offline mode; otherwise migrate."""
    handed_in: Connection | None = context.config.attributes.get("connection")
    if context.is_offline_mode():
        context.configure(dialect_name="postgresql", target_metadata=metadata, literal_binds=True)
        with context.begin_transaction():
            context.run_migrations()
    elif handed_in is not None:
        migrate(handed_in)
    else:
        engine = create_engine(Settings.from_env().database_url, poolclass=pool.NullPool)
        with engine.connect() as connection:
            migrate(connection)
            connection.commit()


main()
