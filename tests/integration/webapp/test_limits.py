"""Limits of a key over HTTP, wherever it asks."""

from collections.abc import Callable

import pytest
from flask import Flask
from sqlalchemy import Engine as Database
from sqlalchemy import text

from schemas.enums import Scope
from tests.factories import autocommit
from tests.integration.serving import Api, make_key
from tests.integration.webapp.conftest import LONG, NO_WAIT, InThread
from tests.integration.webapp.problems import assert_problem
from tests.running import wait_until
from webapp.services import EXTENSION, Services

LimitedApi = Callable[..., Api]


@pytest.fixture
def limited(app: Flask, database: Database) -> LimitedApi:
    """The API as the holder of a new key with these limits calls it."""

    def make(**limits: int) -> Api:
        key = make_key(database, Scope.PREDICT, Scope.READ)
        for column, value in limits.items():
            with autocommit(database) as connection:
                connection.execute(
                    text(f"UPDATE api_keys SET {column} = :value WHERE public_id = :id"),
                    {"value": value, "id": key.split("_")[1]},
                )
        return Api(app, key)

    return make


def test_a_key_that_asks_too_often_is_told_when_it_may_again(limited: LimitedApi) -> None:
    api = limited(rate_per_minute=6, burst=1)
    api.get("/v1/models")

    response = api.get("/v1/models")

    assert_problem(response, 429, "rate-limited")
    assert response.headers["Retry-After"] == "10"
    assert response.headers["RateLimit-Policy"] == '"key";q=6;w=60'
    assert response.headers["RateLimit"] == '"key";r=0;t=10'


@pytest.mark.usefixtures("no_worker")
def test_predictions_count_too(limited: LimitedApi) -> None:
    api = limited(rate_per_minute=6, burst=1)

    answers = [api.predict_xor(headers=NO_WAIT) for _ in range(2)]

    assert [answer.status_code for answer in answers] == [202, 429]
    assert_problem(answers[1], 429, "rate-limited")


@pytest.mark.usefixtures("no_worker")
def test_a_prediction_that_is_waited_for_takes_its_place(limited: LimitedApi, in_thread: InThread, app: Flask) -> None:
    api, services = limited(max_concurrent=1), _services(app)
    waiting = in_thread(lambda: api.predict_xor(headers={"Prefer": "wait=3"}))
    wait_until(lambda: any(meter.running for meter in services.meters._meters.values()))

    assert_problem(api.predict_xor(headers=LONG), 429, "too-many-requests")
    assert waiting.result().status_code == 202


def test_a_request_that_ended_takes_none(limited: LimitedApi) -> None:
    api = limited(max_concurrent=1)

    assert [api.get("/v1/models").status_code for _ in range(3)] == [200] * 3


def _services(app: Flask) -> Services:
    found: Services = app.extensions[EXTENSION]
    return found
