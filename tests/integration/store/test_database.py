"""`store.database`: engines and sessions."""

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import OperationalError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from stack.embedded import free_port
from store.database import create_database, open_session
from store.settings import Settings


@pytest.fixture
def small(settings: Settings) -> Iterator[Engine]:
    """An engine with one connection."""
    engine = create_database(settings.database_url, application="small", pool_size=1)
    yield engine
    engine.dispose()


def test_a_session_commits_at_its_end(database: Engine) -> None:
    with open_session(database) as session:
        session.execute(text("CREATE TABLE scratch (id int)"))

    with database.begin() as connection:
        connection.execute(text("DROP TABLE scratch"))


def test_a_session_whose_block_raises_is_rolled_back(database: Engine) -> None:
    with pytest.raises(ProgrammingError), open_session(database) as session:
        session.execute(text("CREATE TABLE scratch (id int); SELECT nonsense"))

    with database.connect() as connection:
        assert connection.execute(text("SELECT to_regclass('scratch')")).scalar_one() is None


def test_postgres_shows_which_process_asks(small: Engine) -> None:
    assert _setting(small, "application_name") == "small"


@pytest.mark.parametrize(("for_claims", "setting"), [(False, "on"), (True, "off")])
def test_only_claims_may_be_lost_and_return_before_the_log_is_flushed(
    settings: Settings, for_claims: bool, setting: str
) -> None:
    engine = create_database(settings.database_url, application="tests", for_claims=for_claims)

    assert _setting(engine, "synchronous_commit") == setting
    engine.dispose()


def test_a_number_beyond_64_bits_comes_back_from_json_as_it_went_in(small: Engine) -> None:
    with small.connect() as connection:
        found = connection.execute(text("""SELECT CAST('{"a": 1e300, "b": 18446744073709551615}' AS jsonb)""")).scalar()

    assert found == {"a": 1e300, "b": 2**64 - 1}
    assert isinstance(found["a"], float)


def test_a_statement_that_hangs_is_cut_off(small: Engine) -> None:
    assert _setting(small, "statement_timeout") == "5s"


def test_an_exhausted_pool_is_an_error_rather_than_a_queue(small: Engine) -> None:
    with small.connect(), pytest.raises(PoolTimeoutError):
        small.connect()


def test_a_connection_that_the_server_closed_while_it_idled_is_replaced(
    small: Engine, database: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("store.database.PING_AFTER_S", 0.0)
    _setting(small, "application_name")
    _close_from_the_server(database)

    assert _setting(small, "application_name") == "small"


def test_no_engine_connects_before_its_first_use() -> None:
    engine = create_database(f"postgresql+psycopg2://nobody@127.0.0.1:{free_port()}/none", application="tests")

    with pytest.raises(OperationalError):
        engine.connect()


def _setting(engine: Engine, name: str) -> str:
    with engine.connect() as connection:
        return str(connection.execute(text(f"SHOW {name}")).scalar_one())


def _close_from_the_server(database: Engine) -> None:
    """End all connections of the small engine, as a restart of Postgres does."""
    with database.connect() as connection:
        connection.execute(
            text("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = 'small'")
        )
