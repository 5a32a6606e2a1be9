"""`webapp.watch`: a Postgres that is away or hangs is found out by one thread."""

import socket
from collections.abc import Iterator
from typing import Any

import psycopg2
import pytest
from flask import Flask
from sqlalchemy import Engine as Database
from sqlalchemy import event

from store.database import create_database
from store.settings import Settings
from tests.integration.serving import Api
from tests.integration.webapp.problems import assert_problem
from tests.running import wait_until
from webapp.errors import DatabaseAwayError
from webapp.services import EXTENSION, Services
from webapp.watch import DatabaseWatch


@pytest.fixture
def switch() -> dict[str, bool]:
    """Whether Postgres takes connections, as far as the tests' engine sees."""
    return {"away": False}


@pytest.fixture
def switched(settings: Settings, switch: dict[str, bool]) -> Iterator[Database]:
    engine = create_database(settings.database_url, application="tests")

    @event.listens_for(engine, "do_connect")
    def refuse(*_: Any) -> None:
        if switch["away"]:
            raise psycopg2.OperationalError("could not connect to server")

    yield engine
    engine.dispose()


@pytest.fixture
def hanging() -> Iterator[str]:
    """The URL of something that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"postgresql+psycopg2://nobody@127.0.0.1:{server.getsockname()[1]}/none"


def test_while_postgres_answers_requests_go_on(switched: Database) -> None:
    watch = DatabaseWatch(switched)
    watch.start()

    watch.check()
    watch.stop()


def test_requests_are_refused_until_postgres_is_back(switched: Database, switch: dict[str, bool]) -> None:
    switch["away"] = True
    watch = DatabaseWatch(switched)
    watch.start()
    with pytest.raises(DatabaseAwayError, match="nothing was accepted"):
        watch.check()

    switch["away"] = False

    wait_until(lambda: not watch.is_open())
    watch.stop()


def test_a_postgres_that_hangs_counts_as_away(hanging: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("webapp.watch.HANGS_AFTER_S", 0.1)
    engine = create_database(hanging, application="tests")
    watch = DatabaseWatch(engine)
    # `start` would ask here first.
    watch._thread.start()

    wait_until(watch.is_open)
    watch.stop()
    engine.dispose()


def test_a_request_is_refused_before_it_asks_a_database_that_is_away(
    app: Flask, admin_key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    services: Services = app.extensions[EXTENSION]
    monkeypatch.setattr(services.watch, "is_open", lambda: True)
    asked: list[str] = []

    @event.listens_for(services.database, "checkout")
    def note(*_: Any) -> None:
        asked.append("a connection")

    try:
        answers = [Api(app, admin_key).predict_xor(), Api(app, admin_key).get("/v1/models")]
    finally:
        event.remove(services.database, "checkout", note)

    for answer in answers:
        assert_problem(answer, 503, "database-unavailable")
    assert asked == []
