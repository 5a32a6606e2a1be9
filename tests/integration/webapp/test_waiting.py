"""Waiting for a prediction, coming back for it, cancelling it."""

import time
from collections.abc import Iterator
from uuid import UUID, uuid4

import pytest
from flask import Flask
from sqlalchemy import Engine as Database

from schemas.predictions import QueuedPredictionSchema
from store import ledger
from store.models import ServedVersion
from store.replies import publish
from store.stats import SETTLED_S, summarize_finished
from tests.factories import Rows, autocommit
from tests.integration.serving import Api, BackgroundWorker
from tests.integration.webapp.conftest import LONG, NO_WAIT, InThread
from tests.integration.webapp.problems import assert_problem
from tests.running import PATIENCE_S, wait_until
from webapp.services import EXTENSION, Services


@pytest.fixture
def services(app: Flask) -> Services:
    found: Services = app.extensions[EXTENSION]
    return found


@pytest.mark.usefixtures("no_worker")
def test_a_client_that_does_not_wait_is_told_where_to_come_back(api: Api) -> None:
    response = api.predict_xor(headers=NO_WAIT)

    body = response.get_json()
    assert (response.status_code, body["status"]) == (202, "queued")
    assert response.headers["Location"] == f"/v1/predictions/{body['id']}"
    assert response.headers["Retry-After"] == "1"
    assert QueuedPredictionSchema().validate(body) == {}


@pytest.mark.usefixtures("no_worker")
@pytest.mark.parametrize("prefer", ["respond-async", "wait=0", 'wait="0"', "Respond-Async, wait=10", "odd, wait=0"])
def test_a_client_says_in_many_ways_that_it_does_not_wait(api: Api, prefer: str) -> None:
    assert api.predict_xor(headers={"Prefer": prefer}).status_code == 202


@pytest.mark.usefixtures("no_worker")
def test_a_client_whose_wait_is_over_is_told_where_to_come_back(api: Api) -> None:
    response = api.predict_xor(headers={"Prefer": "wait=1"})

    assert (response.status_code, response.get_json()["status"]) == (202, "queued")


@pytest.mark.usefixtures("no_worker")
def test_a_client_is_told_how_many_go_before(api: Api) -> None:
    positions = [api.predict_xor(headers=NO_WAIT).get_json()["queue_position"] for _ in range(3)]

    assert positions == [0, 1, 2]


def test_a_client_is_told_when_to_expect_an_answer(api: Api, worker: BackgroundWorker, database: Database) -> None:
    api.predict_xor()
    time.sleep(SETTLED_S + 1)
    with database.begin() as connection:
        summarize_finished(connection)
    with worker.paused():
        assert api.predict_xor(headers=NO_WAIT).get_json()["eta_ms"] > 0


@pytest.mark.usefixtures("no_worker")
def test_no_answer_is_promised_when_nothing_is_answered(api: Api) -> None:
    assert api.predict_xor(headers=NO_WAIT).get_json()["eta_ms"] is None


@pytest.mark.usefixtures("no_worker")
def test_a_prediction_that_waits_is_read_as_queued(api: Api) -> None:
    location = api.predict_xor(headers=NO_WAIT).headers["Location"]

    response = api.get(location)

    assert (response.status_code, response.get_json()["status"]) == (202, "queued")


def test_a_prediction_without_waiting_is_answered_later(api: Api) -> None:
    prediction_id = api.predict_xor(headers=NO_WAIT).get_json()["id"]

    assert api.get(f"/v1/predictions/{prediction_id}", headers=LONG).get_json()["status"] == "succeeded"


def test_a_long_poll_is_woken_by_the_end(
    api: Api, worker: BackgroundWorker, services: Services, in_thread: InThread
) -> None:
    with worker.paused():
        location = api.predict_xor(headers=NO_WAIT).headers["Location"]
        polled = in_thread(lambda: api.get(location, headers=LONG))
        _wait_for_waiter(services, location)

    response = polled.result(PATIENCE_S)
    assert (response.status_code, response.get_json()["status"]) == (200, "succeeded")


@pytest.mark.usefixtures("no_worker")
def test_a_long_poll_is_woken_though_another_process_accepted(
    api: Api, services: Services, in_thread: InThread, committed_rows: Rows
) -> None:
    location = f"/v1/predictions/{committed_rows.add(reply_channel='torchqueue:replies:other')}"
    polled = in_thread(lambda: api.get(location, headers=LONG))
    _wait_for_waiter(services, location)

    publish(services.redis, ledger.cancel(committed_rows.connection, UUID(location.rpartition("/")[2])))

    assert polled.result(PATIENCE_S).get_json()["status"] == "canceled"


@pytest.mark.usefixtures("no_worker")
def test_a_long_poll_whose_wait_is_over_tells_the_state(api: Api) -> None:
    location = api.predict_xor(headers=NO_WAIT).headers["Location"]

    assert api.get(location, headers={"Prefer": "wait=1"}).get_json()["status"] == "queued"


def test_a_prediction_that_never_was_is_unknown(api: Api) -> None:
    assert_problem(api.get(f"/v1/predictions/{uuid4()}"), 404, "unknown-prediction")


@pytest.mark.usefixtures("no_worker")
def test_a_prediction_that_waits_can_be_cancelled(api: Api) -> None:
    location = api.predict_xor(headers=NO_WAIT).headers["Location"]

    response = api.post(f"{location}/cancel")

    assert (response.status_code, response.get_json()["status"]) == (200, "canceled")
    assert api.get(location).get_json()["status"] == "canceled"


@pytest.mark.usefixtures("no_worker")
def test_cancelling_twice_is_fine(api: Api) -> None:
    location = api.predict_xor(headers=NO_WAIT).headers["Location"]

    assert [api.post(f"{location}/cancel").status_code for _ in range(2)] == [200, 200]


def test_a_finished_prediction_cannot_be_cancelled(api: Api) -> None:
    prediction_id = api.predict_xor().get_json()["id"]

    assert_problem(api.post(f"/v1/predictions/{prediction_id}/cancel"), 409, "prediction-state")


def test_what_never_was_cannot_be_cancelled(api: Api) -> None:
    assert_problem(api.post(f"/v1/predictions/{uuid4()}/cancel"), 404, "unknown-prediction")


@pytest.mark.usefixtures("no_worker")
def test_who_waits_for_a_prediction_hears_that_it_was_cancelled(api: Api, in_thread: InThread) -> None:
    asked = in_thread(lambda: api.predict_xor(headers=LONG))
    prediction_id = _wait_for_queued(api)

    api.post(f"/v1/predictions/{prediction_id}/cancel")

    response = asked.result(PATIENCE_S)
    assert (response.status_code, response.get_json()["status"]) == (200, "canceled")


@pytest.mark.usefixtures("no_worker")
def test_who_waits_for_a_prediction_hears_that_it_expired(
    api: Api, services: Services, in_thread: InThread, committed_rows: Rows
) -> None:
    asked = in_thread(lambda: api.predict_xor(headers=LONG, query_string={"deadline_ms": 1}))
    _wait_for_queued(api)

    publish(services.redis, ledger.expire(committed_rows.connection))

    body = asked.result(PATIENCE_S).get_json()
    assert (body["status"], body["attempt"], body["device"]) == ("expired", 0, None)


@pytest.fixture
def committed_rows(database: Database, xor: ServedVersion) -> Iterator[Rows]:
    """Rows beside those that the API accepts."""
    with autocommit(database) as connection:
        yield Rows(connection, xor)


def _wait_for_waiter(services: Services, location: str) -> None:
    """Wait until somebody waits for a prediction in this process."""
    prediction_id = location.rpartition("/")[2]
    wait_until(lambda: prediction_id in services.listener._waiting)


def _wait_for_queued(api: Api) -> str:
    """Wait until a prediction is queued, and return its id."""
    found: list[str] = []

    def is_there() -> bool:
        page = api.get("/v1/predictions", query_string={"status": "queued"}).get_json()
        found.extend(each["id"] for each in page["data"])
        return bool(found)

    wait_until(is_there)
    return found[0]
