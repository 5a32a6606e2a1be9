"""Bringing the database to the schema that this code knows."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine as Database
from sqlalchemy import text

from store.errors import SchemaVersionError
from store.partitions import ensure_partitions

MIGRATIONS = Path(__file__).resolve().parent.parent / "migrations"

# Two stacks that start on one database migrate one after the other.
MIGRATION_LOCK_ID = 7_208_003


def migrate(database: Database) -> None:
    """Apply the migrations that are missing, and make the partitions that requests will need.

    Raises:
        SchemaVersionError: The database was migrated by newer code.
    """
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with database.connect() as connection:
        connection.execute(text("SELECT pg_advisory_lock(:id)"), {"id": MIGRATION_LOCK_ID})
        connection.commit()
        try:
            current = MigrationContext.configure(connection).get_current_revision()
            _refuse_newer(ScriptDirectory.from_config(config), current)
            connection.rollback()
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
            connection.commit()
        finally:
            connection.execute(text("SELECT pg_advisory_unlock(:id)"), {"id": MIGRATION_LOCK_ID})
            connection.commit()
    with database.begin() as connection:
        ensure_partitions(connection)


def _refuse_newer(scripts: ScriptDirectory, current: str | None) -> None:
    known = {script.revision for script in scripts.walk_revisions()}
    if current is not None and current not in known:
        raise SchemaVersionError(
            f"the database is at revision {current}, which this code does not know: it is newer. "
            "Run the version of torchqueue that made it, or point TORCHQUEUE_DATABASE_URL elsewhere"
        )
