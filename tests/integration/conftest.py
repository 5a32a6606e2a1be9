"""What integration tests share: rows in a transaction that is rolled back, and rows that are really committed."""

from collections.abc import Iterator

import pytest
from sqlalchemy import Connection, Engine

from store.database import open_session
from store.models import ServedVersion, resolve
from tests.factories import Rows, autocommit, clean


@pytest.fixture(scope="session")
def xor(database: Engine) -> ServedVersion:
    """The smallest bundled model."""
    with open_session(database) as session:
        return resolve(session, "xor")


@pytest.fixture(scope="session")
def fashion(database: Engine) -> ServedVersion:
    """The bundled model that takes pictures."""
    with open_session(database) as session:
        return resolve(session, "fashion")


@pytest.fixture
def rows(connection: Connection, xor: ServedVersion) -> Rows:
    """Rows that are rolled back at the end of the test. In its one transaction, `now()` stands still."""
    return Rows(connection, xor)


@pytest.fixture
def committed(database: Engine, xor: ServedVersion) -> Iterator[Rows]:
    """Rows that other connections see; removed at the end of the test."""
    with autocommit(database) as connection:
        yield Rows(connection, xor)
    clean(database)
