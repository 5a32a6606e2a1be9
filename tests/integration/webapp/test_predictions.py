"""Making predictions, waiting for them, coming back for them."""

import base64
import io
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any
from uuid import UUID, uuid4

import pytest
from flask import Flask
from sqlalchemy import Engine as Database
from werkzeug.test import TestResponse

from schemas.enums import Scope
from schemas.predictions import PredictionSchema, QueuedPredictionSchema
from store import ledger
from store.models import ServedVersion
from store.replies import publish
from tests.factories import Rows, autocommit, picture
from tests.integration.serving import Api, BackgroundWorker
from tests.integration.webapp.conftest import ApiFor
from tests.integration.webapp.problems import assert_problem
from tests.running import SAMPLES, wait_until
from webapp.services import EXTENSION, Services

PHOTO = (SAMPLES / "sandal-01.png").read_bytes()

LONG = {"Prefer": "wait=30"}
NO_WAIT = {"Prefer": "wait=0"}

# Long enough on a busy machine; nothing of ours should take a tenth of it.
PATIENCE_S = 20.0

InThread = Callable[[Callable[[], TestResponse]], "Future[TestResponse]"]


@pytest.fixture
def in_thread() -> Iterator[InThread]:
    """Send a request from another thread."""
    with ThreadPoolExecutor(4) as pool:
        yield pool.submit


@pytest.fixture
def services(app: Flask) -> Services:
    found: Services = app.extensions[EXTENSION]
    return found


def test_a_finished_prediction_is_answered_whole(api: Api) -> None:
    body = api.predict_xor().get_json()

    assert PredictionSchema().validate(body) == {}
    assert (body["model"], body["version"], body["status"], body["error"]) == ("xor", 1, "succeeded", None)
    assert (body["attempt"], body["device"], body["item"]) == (1, "cpu:0", None)


def test_what_is_answered_is_what_is_read_later(api: Api) -> None:
    body = api.predict_xor(query_string={"catalog": "shop", "external_id": "42", "priority": "bulk"}).get_json()

    assert api.get(f"/v1/predictions/{body['id']}").get_json() == body
    assert (body["item"], body["priority"]) == ({"catalog": "shop", "external_id": "42"}, "bulk")


@pytest.mark.parametrize(("numbers", "label"), [([0, 0], "0"), ([0, 1], "1"), ([1.0, 0.0], "1"), ([1, 1], "0")])
def test_numbers_are_answered(api: Api, numbers: list[float], label: str) -> None:
    assert api.predict("xor", json={"input": numbers}).get_json()["result"]["label"] == label


@pytest.mark.parametrize("content_type", ["image/png", "image/jpeg", "application/octet-stream", "image/png; a=b"])
def test_a_photo_is_answered_whatever_picture_it_is_called(api: Api, content_type: str) -> None:
    assert _label(api.predict_photo(PHOTO, content_type)) == "Sandal"


def test_a_photo_in_a_form_is_answered(api: Api) -> None:
    assert _label(api.predict("fashion", data={"file": (io.BytesIO(PHOTO), "photo.png")})) == "Sandal"


def test_a_photo_as_base64_is_answered(api: Api) -> None:
    assert _label(api.predict("fashion", json={"input": base64.b64encode(PHOTO).decode()})) == "Sandal"


@pytest.mark.parametrize(
    ("kind", "mode"),
    [
        ("PNG", "1"),
        ("PNG", "L"),
        ("PNG", "LA"),
        ("PNG", "I;16"),
        ("PNG", "P"),
        ("PNG", "RGB"),
        ("PNG", "RGBA"),
        ("JPEG", "L"),
        ("JPEG", "RGB"),
        ("JPEG", "CMYK"),
        ("WEBP", "RGB"),
        ("WEBP", "RGBA"),
    ],
)
def test_a_picture_of_any_mode_is_answered(api: Api, kind: str, mode: str) -> None:
    assert api.predict_photo(picture(kind, mode, (64, 48))).get_json()["status"] == "succeeded"


def test_the_least_picture_is_answered(api: Api) -> None:
    assert api.predict_photo(picture(size=(8, 8))).get_json()["status"] == "succeeded"


def test_a_version_can_be_asked_for(api: Api) -> None:
    assert api.predict_xor(query_string={"version": 1}).get_json()["version"] == 1


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


def test_a_client_is_told_when_to_expect_an_answer(api: Api, worker: BackgroundWorker) -> None:
    api.predict_xor()
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
    location = api.predict_xor(headers=NO_WAIT).headers["Location"]

    assert api.get(location, headers=LONG).get_json()["status"] == "succeeded"


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


def test_a_request_sent_twice_is_one_prediction(api: Api) -> None:
    first, second = (api.predict_xor(headers=_key("once")) for _ in range(2))

    assert second.get_json() == first.get_json()
    assert ("Idempotent-Replayed" in first.headers, second.headers["Idempotent-Replayed"]) == (False, "true")


@pytest.mark.usefixtures("no_worker")
def test_a_request_sent_again_while_it_waits_tells_where_to_come_back(api: Api) -> None:
    first, second = (api.predict_xor(headers=NO_WAIT | _key("waiting")) for _ in range(2))

    assert second.status_code == 202
    assert second.headers["Location"] == first.headers["Location"]


@pytest.mark.parametrize(
    "change",
    [
        {"json": {"input": [1, 1]}},
        {"query_string": {"priority": "bulk"}},
        {"query_string": {"version": 1}},
        {"query_string": {"catalog": "shop", "external_id": "42"}},
    ],
)
def test_an_idempotency_key_reused_for_another_request_is_a_conflict(api: Api, change: dict[str, Any]) -> None:
    headers = _key(str(uuid4()))
    api.predict_xor(headers=headers)

    assert_problem(api.predict_xor(headers=headers, **change), 409, "idempotency-key-reused")


def test_the_time_that_a_client_waits_makes_no_other_request(api: Api) -> None:
    first = api.predict_xor(headers=_key("patience"))

    second = api.predict_xor(headers=LONG | _key("patience"))

    assert second.get_json()["id"] == first.get_json()["id"]


def test_two_tenants_may_use_the_same_idempotency_key(api_for: ApiFor) -> None:
    mine, theirs = (api_for(Scope.PREDICT).predict_xor(headers=_key("shared")) for _ in range(2))

    assert mine.get_json()["id"] != theirs.get_json()["id"]


def test_requests_sent_at_once_under_one_key_are_one_prediction(api: Api, in_thread: InThread) -> None:
    sent = [in_thread(lambda: api.predict_xor(headers=NO_WAIT | _key("at once"))) for _ in range(8)]

    assert len({response.result(PATIENCE_S).get_json()["id"] for response in sent}) == 1


def test_predictions_are_listed_newest_first(api_for: ApiFor) -> None:
    api = api_for(Scope.PREDICT, Scope.READ)
    ids = [api.predict_xor().get_json()["id"] for _ in range(3)]

    body = api.get("/v1/predictions").get_json()

    assert ([each["id"] for each in body["data"]], body["next_cursor"]) == (ids[::-1], None)


def test_pages_follow_each_other_without_gap(api_for: ApiFor) -> None:
    api = api_for(Scope.PREDICT, Scope.READ)
    ids = [api.predict_xor().get_json()["id"] for _ in range(5)]

    pages = [api.get("/v1/predictions", query_string={"limit": 2}).get_json()]
    while cursor := pages[-1]["next_cursor"]:
        pages.append(api.get("/v1/predictions", query_string={"limit": 2, "cursor": cursor}).get_json())

    assert [[each["id"] for each in page["data"]] for page in pages] == [ids[:2:-1], ids[2:0:-1], ids[:1]]


FILTERS: list[tuple[dict[str, Any], int]] = [
    ({}, 2),
    ({"model": "xor"}, 1),
    ({"model": "xor", "version": 1}, 1),
    ({"model": "xor", "version": 2}, 0),
    ({"model": "nope"}, 0),
    ({"status": "succeeded"}, 2),
    ({"status": "queued"}, 0),
    ({"created_after": "0001-01-01T00:00:00Z"}, 2),
    ({"created_after": "9999-12-31T23:59:59Z"}, 0),
    ({"created_before": "2020-01-01T00:00:00+14:00"}, 0),
]


@pytest.mark.parametrize(("query", "count"), FILTERS)
def test_a_list_holds_what_was_asked_for(api_for: ApiFor, query: dict[str, Any], count: int) -> None:
    api = api_for(Scope.PREDICT, Scope.READ)
    api.predict_xor()
    api.predict_photo(PHOTO)

    assert len(api.get("/v1/predictions", query_string=query).get_json()["data"]) == count


def test_all_that_is_known_of_an_item_is_listed(api: Api) -> None:
    item = {"catalog": "shop 1", "external_id": "ä:42"}
    ids = [api.predict_xor(query_string=item).get_json()["id"] for _ in range(2)]

    body = api.get("/v1/items/shop 1/ä:42/predictions").get_json()

    assert [each["id"] for each in body["data"]] == ids[::-1]
    assert body["data"][0]["item"] == item


def test_the_predictions_of_an_item_are_paged(api: Api) -> None:
    ids = [api.predict_xor(query_string={"catalog": "shop", "external_id": "7"}).get_json()["id"] for _ in range(3)]

    first = api.get("/v1/items/shop/7/predictions", query_string={"limit": 2}).get_json()
    last = api.get("/v1/items/shop/7/predictions", query_string={"cursor": first["next_cursor"]}).get_json()

    assert [each["id"] for each in first["data"] + last["data"]] == ids[::-1]


def test_an_unknown_item_is_unknown(api: Api) -> None:
    assert_problem(api.get("/v1/items/shop/never/predictions"), 404, "unknown-item")


@pytest.fixture
def committed_rows(database: Database, xor: ServedVersion) -> Iterator[Rows]:
    """Rows beside those that the API accepts."""
    with autocommit(database) as connection:
        yield Rows(connection, xor)


def _label(response: TestResponse) -> str:
    label: str = response.get_json()["result"]["label"]
    return label


def _key(name: str) -> dict[str, str]:
    return {"Idempotency-Key": name}


def _wait_for_waiter(services: Services, location: str) -> None:
    """Wait until somebody waits for a prediction in this process."""
    prediction_id = location.rpartition("/")[2]
    wait_until(lambda: prediction_id in services.listener._waiting, PATIENCE_S)


def _wait_for_queued(api: Api) -> str:
    """Wait until a prediction is queued, and return its id."""
    found: list[str] = []

    def is_there() -> bool:
        page = api.get("/v1/predictions", query_string={"status": "queued"}).get_json()
        found.extend(each["id"] for each in page["data"])
        return bool(found)

    wait_until(is_there, PATIENCE_S)
    return found[0]
