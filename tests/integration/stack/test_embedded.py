"""`stack.embedded`: the servers that all integration tests run on."""

import stat
from pathlib import Path

import redis
from sqlalchemy import Connection, make_url, text

from stack.embedded import create_database_if_missing, prepare_valkey
from tests.factories import BUNDLED_MODELS


def test_nobody_else_on_the_machine_reaches_postgres(postgres_url: str) -> None:
    sockets = make_url(postgres_url).query["host"]

    assert isinstance(sockets, str)
    assert stat.S_IMODE(Path(sockets).stat().st_mode) == 0o700


def test_postgres_listens_on_no_port(connection: Connection) -> None:
    assert connection.execute(text("SHOW listen_addresses")).scalar_one() == ""


def test_postgres_has_vectors(connection: Connection) -> None:
    found = connection.execute(text("SELECT count(*) FROM pg_available_extensions WHERE name = 'vector'"))

    assert found.scalar_one() == 1


def test_a_database_that_is_there_is_kept(postgres_url: str, connection: Connection) -> None:
    create_database_if_missing(postgres_url)

    assert connection.execute(text("SELECT count(*) FROM models")).scalar_one() == len(BUNDLED_MODELS)


def test_a_valkey_that_runs_is_ready(redis_url: str, tmp_path: Path) -> None:
    port = make_url(redis_url).port
    password = make_url(redis_url).password
    (tmp_path / "port").write_text(str(port))
    (tmp_path / "password").write_text(str(password))

    assert prepare_valkey(tmp_path).is_ready()


def test_valkey_refuses_writes_rather_than_to_drop_messages(valkey: redis.Redis) -> None:
    assert valkey.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
