"""A web process beside servers that are away."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask
from sqlalchemy import Engine as Database
from sqlalchemy import text

from stack.embedded import free_port
from store.settings import Settings
from tests.factories import break_store, picture
from tests.frozen import OwnValkey
from tests.integration.serving import Api, web_process
from tests.integration.webapp.problems import assert_problem


@pytest.fixture
def without_valkey(settings: Settings) -> Iterator[Flask]:
    with web_process(settings, redis_url=f"redis://127.0.0.1:{free_port()}/0") as app:
        yield app


@pytest.fixture
def without_postgres(settings: Settings) -> Iterator[Flask]:
    with web_process(settings, database_url=f"postgresql+psycopg2://nobody@127.0.0.1:{free_port()}/none") as app:
        yield app


@pytest.fixture
def without_objects(settings: Settings, tmp_path: Path) -> Iterator[Flask]:
    with web_process(settings, object_url=f"file://{tmp_path / 'objects'}") as app:
        break_store(tmp_path / "objects")
        yield app


@pytest.mark.usefixtures("worker")
def test_without_valkey_requests_are_answered(without_valkey: Flask, admin_key: str) -> None:
    response = Api(without_valkey, admin_key).predict_xor()

    assert (response.status_code, response.get_json()["status"]) == (200, "succeeded")


@pytest.mark.usefixtures("worker")
def test_with_a_frozen_valkey_requests_are_answered(settings: Settings, own_valkey: OwnValkey, admin_key: str) -> None:
    with web_process(settings, redis_url=own_valkey.url) as app, own_valkey.frozen():
        answers = [Api(app, admin_key).predict_xor() for _ in range(5)]

    assert [answer.status_code for answer in answers] == [200] * 5


def test_without_valkey_a_process_is_ready_and_says_what_is_missing(without_valkey: Flask) -> None:
    body = Api(without_valkey, None).get("/health/ready").get_json()

    assert (body["status"], body["checks"]["valkey"]) == ("ready", "away")


@pytest.mark.usefixtures("no_worker")
def test_without_valkey_a_prediction_can_be_cancelled(without_valkey: Flask, admin_key: str) -> None:
    api = Api(without_valkey, admin_key)
    location = api.predict_xor(headers={"Prefer": "wait=0"}).headers["Location"]

    assert api.post(f"{location}/cancel").get_json()["status"] == "canceled"


@pytest.mark.parametrize("path", ["/v1/models", "/v1/stats", "/v1/predictions", "/metrics"])
def test_without_postgres_every_request_is_told_to_come_back(
    without_postgres: Flask, admin_key: str, path: str
) -> None:
    response = Api(without_postgres, admin_key).get(path)

    assert_problem(response, 503, "database-unavailable")
    assert response.headers["Retry-After"] == "1"


def test_without_postgres_nothing_is_accepted(without_postgres: Flask, admin_key: str) -> None:
    assert_problem(Api(without_postgres, admin_key).predict_xor(), 503, "database-unavailable")


def test_without_postgres_a_process_is_not_ready(without_postgres: Flask) -> None:
    response = Api(without_postgres, None).get("/health/ready")

    assert_problem(response, 503, "not-ready")
    assert response.headers["Retry-After"] == "1"


def test_without_postgres_a_process_is_live(without_postgres: Flask) -> None:
    assert Api(without_postgres, None).get("/health/live").status_code == 200


@pytest.mark.usefixtures("no_worker")
def test_while_postgres_hangs_a_request_is_told_to_come_back(app: Flask, admin_key: str, database: Database) -> None:
    api = Api(app, admin_key)
    api.get("/v1/models/xor")

    with database.begin() as connection:
        connection.execute(text("LOCK TABLE predictions IN SHARE MODE"))
        response = api.predict_xor(headers={"Prefer": "wait=1"})

    assert_problem(response, 503, "database-unavailable")


def test_without_its_object_store_a_photo_is_not_accepted(without_objects: Flask, admin_key: str) -> None:
    response = Api(without_objects, admin_key).predict_photo(picture())

    assert_problem(response, 503, "objects-unavailable")
    assert response.headers["Retry-After"] == "1"


@pytest.mark.usefixtures("worker")
def test_without_its_object_store_numbers_are_answered(without_objects: Flask, admin_key: str) -> None:
    assert Api(without_objects, admin_key).predict_xor().status_code == 200
