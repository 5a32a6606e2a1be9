"""The migrations: one line of them, equal to the tables, there and back again, on a database of their own."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import psycopg2
import pytest
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, inspect, make_url, text

from store.database import create_database, open_session
from store.errors import SchemaVersionError
from store.migrate import MIGRATIONS, migrate
from store.models import resolve
from store.partitions import is_partition_name, partition_names
from store.tables import metadata
from tests.factories import Rows, add_model

NAME = "migrations"

LIMITS = ("statement_timeout", "lock_timeout")


@pytest.fixture
def empty(postgres_url: str) -> Iterator[Engine]:
    """An empty database beside the one of the other tests."""
    with another_database(postgres_url, NAME) as url:
        engine = create_database(url, application="tests")
        yield engine
        engine.dispose()


@contextmanager
def another_database(postgres_url: str, name: str) -> Iterator[str]:
    """Yield the URL of an empty database beside the one of the other tests; it is dropped at the end."""
    _execute(postgres_url, f"CREATE DATABASE {name}")
    try:
        yield make_url(postgres_url).set(database=name).render_as_string(hide_password=False)
    finally:
        _execute(postgres_url, f"DROP DATABASE {name} WITH (FORCE)")


def test_there_is_one_head() -> None:
    assert len(ScriptDirectory.from_config(_config()).get_heads()) == 1


def test_the_migrations_make_the_tables_of_the_models(empty: Engine) -> None:
    migrate(empty)

    with empty.connect() as connection:
        command.check(_config(connection=connection))


def test_migrating_makes_the_partitions_that_requests_need(empty: Engine) -> None:
    migrate(empty)

    with empty.connect() as connection:
        assert len(partition_names(connection)) == 10


def test_migrating_again_changes_nothing(empty: Engine) -> None:
    migrate(empty)
    _fill(empty)

    migrate(empty)

    assert _count(empty) == 2


def test_the_limits_of_migrations_do_not_stay_with_the_connection(empty: Engine) -> None:
    with empty.connect() as connection:
        before = [connection.execute(text(f"SHOW {name}")).scalar_one() for name in LIMITS]

    migrate(empty)

    with empty.connect() as connection:
        assert [connection.execute(text(f"SHOW {name}")).scalar_one() for name in LIMITS] == before


def test_a_database_with_rows_goes_down_and_up_again(empty: Engine) -> None:
    migrate(empty)
    _fill(empty)

    _downgrade(empty)
    assert _tables(empty) == {"alembic_version"}

    migrate(empty)
    assert _tables(empty) == {*metadata.tables, "alembic_version"}
    assert _count(empty) == 0


def test_a_database_that_went_down_and_up_takes_predictions(empty: Engine) -> None:
    migrate(empty)
    _downgrade(empty)
    migrate(empty)

    _fill(empty)

    assert _count(empty) == 2


def test_a_database_that_is_newer_is_refused(empty: Engine) -> None:
    migrate(empty)
    with empty.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))

    with pytest.raises(SchemaVersionError, match=r"revision 9999.*newer"):
        migrate(empty)


def test_a_refusal_leaves_the_migration_lock_free(empty: Engine) -> None:
    test_a_database_that_is_newer_is_refused(empty)

    with empty.connect() as connection:
        held = connection.execute(text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"))
        assert held.scalar_one() == 0


def _config(**attributes: Any) -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes.update(attributes)
    return config


def _downgrade(database: Engine) -> None:
    with database.connect() as connection:
        command.downgrade(_config(connection=connection), "base")
        connection.commit()


def _fill(database: Engine) -> None:
    """Two predictions about an item, one of them running."""
    with open_session(database) as session:
        add_model(session, "one")
        rows = Rows(session.connection(), resolve(session, "one"))
        rows.add_many(2, catalog="shop", external_id="42", idempotency_key=None)
        rows.claim(limit=1)


def _count(database: Engine) -> int:
    with database.connect() as connection:
        return int(connection.execute(text("SELECT count(*) FROM predictions")).scalar_one())


def _tables(database: Engine) -> set[str]:
    return {name for name in inspect(database).get_table_names() if not is_partition_name(name)}


def _execute(postgres_url: str, statement: str) -> None:
    query = make_url(postgres_url).query
    with closing(psycopg2.connect(host=query["host"], user="postgres", dbname="postgres")) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement)
