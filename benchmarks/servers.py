"""The embedded Postgres alone, for benchmarks of what happens in the database."""

import signal
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psycopg2
from sqlalchemy import Engine, make_url

from stack.bootstrap import prepare_database
from stack.embedded import create_database_if_missing, prepare_postgres
from store.database import create_database
from store.objects import ObjectStore
from tests.running import wait_until

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 120.0


@contextmanager
def running_postgres(folder: Path) -> Iterator[str]:
    """Run a Postgres with the settings of the stack on a folder, new or kept; yields the URL of its database."""
    server = prepare_postgres(folder / "postgres")
    with (folder / "postgres.log").open("ab") as log:
        process = subprocess.Popen(server.argv, user=server.user, stdout=log, stderr=log)
    try:
        wait_until(server.is_ready, START_TIMEOUT_S)
        create_database_if_missing(server.url)
        yield server.url
    finally:
        # What Postgres calls its fast shutdown: it waits for no connection.
        process.send_signal(signal.SIGINT)
        process.wait(STOP_TIMEOUT_S)


@contextmanager
def migrated_database(url: str, folder: Path) -> Iterator[Engine]:
    """Migrate a database and import the bundled models, as a first start does; yields its engine, which commits."""
    database = create_database(url, application="benchmark", pool_size=4)
    prepare_database(database, ObjectStore(f"file://{folder / 'objects'}"))
    try:
        yield database.execution_options(isolation_level="AUTOCOMMIT")
    finally:
        database.dispose()


def add_database(url: str, name: str) -> str:
    """Create an empty database beside that of `url`, unless it is there; returns its URL."""
    parsed = make_url(url)
    with closing(psycopg2.connect(host=parsed.query["host"], user=parsed.username, dbname="postgres")) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,))
            if cursor.fetchone() is None:
                cursor.execute(f"CREATE DATABASE {name}")
    return parsed.set(database=name).render_as_string(hide_password=False)
