"""What is refused under load, and what is not: a real queue, and a worker that says how slow it is."""

import asyncio
import math
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import Engine as Database
from sqlalchemy import text

from schemas.enums import Priority, Scope
from schemas.model_settings import MEBIBYTE, CacheSettings, ModelSettings
from store.database import open_session
from store.models import ServedVersion, configure
from tests.factories import Rows, autocommit
from tests.integration.serving import LOOPBACK, Api, make_key
from tests.integration.webapp.conftest import NO_WAIT, ApiFor
from tests.integration.webapp.problems import assert_problem
from tests.running import wait_until
from webapp.fast_lane import FastLane
from webapp.services import EXTENSION, Services

#: A row a second.
RATES = '{"xor/1": {"fixed_ms": 0, "item_ms": 1000, "load_ms": 0, "used": 0, "age_ms": 0}}'

REGISTER = text(f"""
    INSERT INTO workers (name, role, device, queue, host, pid, models, rates, lease_expires_at, progress_at)
    VALUES ('slow', 'inference', 'cpu:9', 'inference-slow', 'elsewhere', 9, '{{xor/1}}', '{RATES}',
        now() + interval '1 hour', now())
""")

pytestmark = pytest.mark.usefixtures("slow_worker")


@pytest.fixture
def services(app: Flask) -> Services:
    found: Services = app.extensions[EXTENSION]
    return found


@pytest.fixture
def slow_worker(
    no_worker: None,  # noqa: ARG001 - pauses the one of the module
    database: Database,
    services: Services,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[None]:
    """A worker that lives, does one row a second as far as it says, and takes none."""
    # However long a test takes: that nothing is done while rows wait is no measurement here.
    monkeypatch.setattr("webapp.forecast.SETTLED_S", math.inf)
    services.pressure._efficiency.value = 1.0
    with autocommit(database) as connection:
        connection.execute(REGISTER)
    wait_until(lambda: services.pressure.work_s("xor/1", 1) == 1.0)
    yield
    with autocommit(database) as connection:
        connection.execute(text("DELETE FROM workers WHERE name = 'slow'"))
    wait_until(lambda: services.pressure.work_s("xor/1", 1) != 1.0)


@pytest.fixture
def queue(database: Database, xor: ServedVersion) -> Iterator[Rows]:
    """Rows that the process sees."""
    with autocommit(database) as connection:
        yield Rows(connection, xor)


@pytest.fixture
def busy(slow_worker: None, queue: Rows, services: Services) -> Rows:  # noqa: ARG001 - nobody else takes them
    """Forty rows of nobody wait, which is ten too many."""
    queue.add_many(40)
    wait_until(lambda: services.pressure.rows() == 40)
    return queue


@pytest.mark.usefixtures("busy")
def test_who_would_wait_too_long_is_told_when_to_come_back(api: Api) -> None:
    response = api.predict_xor(headers=NO_WAIT)

    assert_problem(response, 429, "overloaded")
    assert 10 <= int(response.headers["Retry-After"]) <= 13


def test_nothing_of_what_is_refused_is_stored(api: Api, busy: Rows) -> None:
    api.predict_xor(headers=NO_WAIT)

    assert busy.connection.execute(text("SELECT count(*) FROM predictions")).scalar_one() == 40


@pytest.mark.usefixtures("busy")
def test_a_deadline_that_cannot_be_met_is_refused_at_once(api: Api) -> None:
    response = api.predict_xor(query_string={"deadline_ms": "20000"}, headers=NO_WAIT)

    assert_problem(response, 429, "deadline-unreachable")
    assert 20 <= int(response.headers["Retry-After"]) <= 27


@pytest.mark.usefixtures("busy")
@pytest.mark.parametrize("priority", ["interactive", "bulk"])
def test_what_goes_first_and_what_may_wait_is_let_in(api: Api, priority: str) -> None:
    assert api.predict_xor(query_string={"priority": priority}, headers=NO_WAIT).status_code == 202


@pytest.mark.usefixtures("busy")
def test_what_is_let_in_is_told_how_long_it_takes(api: Api) -> None:
    response = api.predict_xor(query_string={"priority": "bulk"}, headers=NO_WAIT)

    body = response.get_json()
    assert body["queue_position"] == 40
    assert body["eta_ms"] == pytest.approx(42_000, abs=1500)
    assert 40 <= int(response.headers["Retry-After"]) <= 44


def test_a_noisy_key_is_refused_and_a_quiet_one_let_in(api_for: ApiFor) -> None:
    noisy, quiet = api_for(Scope.PREDICT), api_for(Scope.PREDICT)
    found = [noisy.predict_xor(headers=NO_WAIT).status_code for _ in range(40)]

    assert found[:25] == [202] * 25
    assert found[-1] == 429
    assert quiet.predict_xor(headers=NO_WAIT).status_code == 202


def test_a_quiet_key_is_claimed_before_what_a_noisy_one_sent_too_much_of(api_for: ApiFor, queue: Rows) -> None:
    noisy, quiet = api_for(Scope.PREDICT), api_for(Scope.PREDICT)
    for _ in range(10):
        noisy.predict_xor(headers=NO_WAIT)
    asked = quiet.predict_xor(headers=NO_WAIT).get_json()["id"]

    order = [str(claim.id) for claim in queue.claim(limit=100)]

    assert order.index(asked) <= 2


def test_a_key_has_no_more_waiting_than_it_may(app: Flask, database: Database) -> None:
    key = make_key(database, Scope.PREDICT)
    _limit(database, key, "max_queued", 2)
    limited = Api(app, key)

    answers = [limited.predict_xor(headers=NO_WAIT) for _ in range(3)]

    assert [answer.status_code for answer in answers] == [202, 202, 429]
    assert_problem(answers[2], 429, "key-queue-full")


@pytest.mark.usefixtures("busy")
def test_an_answer_from_memory_needs_no_room(
    api: Api, database: Database, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services.cache, "may_answer", lambda *_: True)
    with open_session(database) as session:
        configure(session, name="xor", settings=ModelSettings(cache=CacheSettings(ttl_s=60, max_bytes=MEBIBYTE)))
    wait_until(lambda: services.models.resolve("xor", None).settings.cache is not None)

    assert api.predict_xor(headers=NO_WAIT).status_code == 202
    with open_session(database) as session:
        configure(session, name="xor", settings=ModelSettings())
    wait_until(lambda: services.models.resolve("xor", None).settings.cache is None)


@pytest.mark.usefixtures("busy")
def test_the_body_of_what_is_refused_is_not_read(app: Flask, services: Services, admin_key: str) -> None:
    lane, sent = FastLane(app, services), []

    async def receive() -> dict[str, Any]:
        raise AssertionError("the body was read")

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    asyncio.run(lane(_scope(admin_key), receive, send))  # type: ignore[arg-type]  # As a server calls it.

    assert sent[0]["status"] == 429


@pytest.mark.usefixtures("busy")
def test_refusals_are_counted(api: Api) -> None:
    api.predict_xor(headers=NO_WAIT)

    metrics = api.get("/metrics").text
    assert 'torchqueue_refused_total{reason="overloaded"}' in metrics
    assert 'torchqueue_estimated_wait_seconds{model="xor",priority="normal",version="1"}' in metrics


@pytest.mark.usefixtures("busy")
def test_an_item_is_refused_alike(api: Api, services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services.pressure, "wait_s", lambda _place: 40.0)

    response = api.call("PUT", "/v1/models/fashion-similar/items/shop/1", data=b"no photo", content_type="image/png")

    assert_problem(response, 429, "overloaded")


def test_without_any_worker_nothing_is_accepted(api: Api, services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services.directory, "can_serve", lambda _version: False)

    assert_problem(api.predict_xor(headers=NO_WAIT), 503, "no-worker")


@pytest.mark.parametrize("priority", list(Priority))
def test_an_idle_stack_refuses_nobody(api: Api, priority: Priority) -> None:
    query = {"priority": str(priority), "deadline_ms": "5000"}

    assert api.predict_xor(query_string=query, headers=NO_WAIT).status_code == 202


def _limit(database: Database, key: str, column: str, value: int) -> None:
    with autocommit(database) as connection:
        connection.execute(
            text(f"UPDATE api_keys SET {column} = :value WHERE public_id = :id"),
            {"value": value, "id": key.split("_")[1]},
        )


def _scope(key: str) -> dict[str, Any]:
    """A request as a server hands it over: a large photo, of which nothing was read yet."""
    headers = {"authorization": f"Bearer {key}", "content-type": "image/jpeg", "content-length": str(8 * MEBIBYTE)}
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": "/v1/models/xor/predictions",
        "raw_path": b"/v1/models/xor/predictions",
        "query_string": b"",
        "root_path": "",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        "client": (LOOPBACK, 1),
        "server": (LOOPBACK, 80),
    }
