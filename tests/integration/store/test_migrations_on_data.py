"""Each migration on data: what was in the tables is in them after going up, and after going down again."""

import itertools
from dataclasses import dataclass, field

import pytest
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, inspect

from store.database import create_database
from store.migrate import MIGRATIONS
from tests.integration.store.filling import Row, contents, fill, lost
from tests.integration.store.test_migrations import another_database

SCRIPTS = ScriptDirectory(str(MIGRATIONS))

#: Oldest first.
REVISIONS = [script.revision for script in reversed(list(SCRIPTS.walk_revisions()))]

#: What a migration cannot keep on its way up, by revision and table, and why.
MAY_LOSE: dict[tuple[str, str], str] = {}


@dataclass
class Steps:
    """What each migration did to a full database.

    Attributes:
        lost_up: Rows that were gone after it, by revision and table.
        lost_down: Rows that were gone after it was undone.
        empty: Tables that nothing was put into before it.
        left: Tables at the end, after all were undone.
    """

    lost_up: dict[str, dict[str, list[Row]]] = field(default_factory=dict)
    lost_down: dict[str, dict[str, list[Row]]] = field(default_factory=dict)
    empty: dict[str, list[str]] = field(default_factory=dict)
    left: set[str] = field(default_factory=set)


@pytest.fixture(scope="module")
def steps(postgres_url: str) -> Steps:
    """Go up a step at a time, each time once down and up again, and fill whatever is new; then all the way down."""
    with another_database(postgres_url, "migrations_on_data") as url:
        engine = create_database(url, application="tests")
        found = _walk(engine)
        engine.dispose()
    return found


@pytest.mark.parametrize("revision", REVISIONS[1:])
def test_going_up_keeps_every_row(steps: Steps, revision: str) -> None:
    assert {table for table in steps.lost_up[revision] if (revision, table) not in MAY_LOSE} == set()


@pytest.mark.parametrize("revision", REVISIONS[1:])
def test_going_down_again_keeps_every_row(steps: Steps, revision: str) -> None:
    assert steps.lost_down[revision] == {}


@pytest.mark.parametrize("revision", REVISIONS[1:])
def test_no_table_was_empty_when_a_migration_came(steps: Steps, revision: str) -> None:
    assert steps.empty[revision] == []


def test_from_a_full_database_there_is_a_way_down_to_nothing(steps: Steps) -> None:
    assert steps.left == {"alembic_version"}


def _walk(database: Engine) -> Steps:
    steps = Steps()
    _move(database, "upgrade", REVISIONS[0])
    for before, revision in itertools.pairwise(REVISIONS):
        with database.begin() as connection:
            fill(connection)
        full = _read(database)
        steps.empty[revision] = [table for table, rows in full.items() if not rows]
        _move(database, "upgrade", revision)
        steps.lost_up[revision] = lost(full, _read(database))
        _move(database, "downgrade", before)
        steps.lost_down[revision] = lost(full, _read(database))
        _move(database, "upgrade", revision)
    with database.begin() as connection:
        fill(connection)
    _move(database, "downgrade", "base")
    steps.left = set(inspect(database).get_table_names())
    return steps


def _read(database: Engine) -> dict[str, list[Row]]:
    with database.connect() as connection:
        return contents(connection)


def _move(database: Engine, direction: str, revision: str) -> None:
    with database.connect() as connection:
        getattr(command, direction)(_config(connection), revision)
        connection.commit()


def _config(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    return config
