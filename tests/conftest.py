"""Real servers for every test that needs one: embedded Postgres migrated by the migrations, and embedded Valkey."""

import gc
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import redis
import structlog
from hypothesis import settings as hypothesis_settings
from sqlalchemy import Connection, Engine
from sqlalchemy.orm import Session

from stack.bootstrap import prepare_database
from stack.embedded import (
    EmbeddedServer,
    create_database_if_missing,
    free_port,
    prepare_postgres,
    prepare_valkey,
)
from store.database import create_database
from store.objects import ObjectStore
from store.settings import Settings
from tests.frozen import OwnValkey
from tests.running import RunningStack, wait_until
from tests.sinks import WEBHOOK_KEY

# How long an example takes says something of the machine, not of the code.
hypothesis_settings.register_profile("untimed", deadline=None)
hypothesis_settings.load_profile("untimed")


def pytest_configure() -> None:
    """Log exceptions as Python prints them.

    Structlog's own way, with every local variable of every frame, takes a second on a busy machine.
    """
    structlog.dev.ConsoleRenderer.get_active().exception_formatter = structlog.dev.plain_traceback


def pytest_collection_finish() -> None:
    """Leave what stays until the end out of the collections of garbage.

    Code under test asks for whole ones, and where all tests are loaded each takes half a second.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def postgres_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Postgres of this test session, with the schema and the bundled models."""
    server = prepare_postgres(tmp_path_factory.mktemp("pg") / "postgres")
    # No test of this session takes its power away; those that kill a Postgres have one of their own.
    with _running(replace(server, argv=[*server.argv, "-c", "fsync=off"])):
        create_database_if_missing(server.url)
        yield server.url


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Valkey of this test session."""
    server = prepare_valkey(tmp_path_factory.mktemp("valkey"))
    with _running(server):
        yield server.url


@pytest.fixture
def own_valkey(tmp_path: Path) -> Iterator[OwnValkey]:
    """A Valkey of this test alone, which may stop it in its tracks."""
    server = OwnValkey(tmp_path / "own-valkey")
    yield server
    server.close()


@pytest.fixture(scope="session")
def settings(postgres_url: str, redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Settings that point at the session's servers."""
    var_dir = tmp_path_factory.mktemp("var")
    return Settings(
        database_url=postgres_url,
        redis_url=redis_url,
        object_url=f"file://{var_dir / 'objects'}",
        var_dir=var_dir,
        webhook_key=WEBHOOK_KEY,
    )


@pytest.fixture(scope="session")
def objects(settings: Settings) -> ObjectStore:
    """The session's object store."""
    return ObjectStore(settings.object_url)


@pytest.fixture(scope="session")
def database(settings: Settings, objects: ObjectStore) -> Iterator[Engine]:
    """The migrated database, with the bundled models imported."""
    engine = create_database(settings.database_url, application="tests", pool_size=20)
    prepare_database(engine, objects)
    yield engine
    engine.dispose()


@pytest.fixture
def connection(database: Engine) -> Iterator[Connection]:
    """A connection whose work is rolled back at the end of the test."""
    with database.connect() as opened:
        transaction = opened.begin()
        yield opened
        transaction.rollback()


@pytest.fixture
def session(connection: Connection) -> Iterator[Session]:
    """A session inside the test's transaction; its commits are savepoints."""
    with Session(connection, join_transaction_mode="create_savepoint", expire_on_commit=False) as opened:
        yield opened


@pytest.fixture
def valkey(redis_url: str) -> Iterator[redis.Redis]:
    """A client of the session's Valkey."""
    client = redis.Redis.from_url(redis_url)
    yield client
    client.close()


@pytest.fixture(scope="session")
def receiver_port() -> int:
    """A port on loopback that the stack may send to, although it is none of the public internet."""
    return free_port()


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory, receiver_port: int) -> Iterator[RunningStack]:
    """A whole stack of real processes that all end-to-end tests share; it must be healthy after each of them."""
    environment = {"TORCHQUEUE_OUTWARD_NETWORKS": "127.0.0.0/8", "TORCHQUEUE_OUTWARD_PORTS": str(receiver_port)}
    with RunningStack.start(tmp_path_factory.mktemp("stack") / "var", environment=environment) as running:
        yield running


class _running:  # noqa: N801 - reads as a phrase where it is used
    """Run an embedded server while the block runs."""

    def __init__(self, server: EmbeddedServer) -> None:
        self._process = subprocess.Popen(
            server.argv, user=server.user, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self._server = server

    def __enter__(self) -> None:
        wait_until(self._server.is_ready)

    def __exit__(self, *_: object) -> None:
        # Postgres calls SIGINT its fast shutdown: with SIGTERM it would wait for connections that tests left open.
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
