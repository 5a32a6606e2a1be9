"""`/v1/webhooks`: endpoints and deliveries as their owner sees them, and as nobody else does."""

from collections.abc import Iterator
from uuid import uuid4

import pytest
from flask import Flask
from sqlalchemy import Engine as Database
from sqlalchemy import text

from schemas.enums import Scope
from store.settings import Settings
from tests.factories import autocommit, clean_rows
from tests.integration.serving import Api, make_key, web_process
from tests.integration.webapp.conftest import ApiFor
from tests.running import wait_until

URL = "https://shop.example.com/hooks"
ENDS = ["prediction.succeeded", "prediction.failed", "prediction.canceled"]
ENDPOINT = {"url": URL, "events": ENDS}


@pytest.fixture(autouse=True)
def _clean(database: Database) -> Iterator[None]:
    yield
    clean_rows(database)


@pytest.fixture
def owner(api_for: ApiFor) -> Api:
    """The holder of a new key."""
    return api_for(Scope.PREDICT, Scope.READ)


@pytest.fixture
def webhook(owner: Api) -> str:
    """An endpoint of that key: its path."""
    return str(owner.post("/v1/webhooks", json=ENDPOINT).headers["Location"])


def deliveries(api: Api, webhook: str, **query: str) -> list[dict[str, object]]:
    found: list[dict[str, object]] = api.get(f"{webhook}/deliveries", query_string=query).get_json()["data"]
    return found


def test_an_endpoint_is_made_and_its_secret_shown_once(owner: Api) -> None:
    made = owner.post("/v1/webhooks", json={**ENDPOINT, "description": "the shop"})

    assert made.status_code == 201
    body = made.get_json()
    assert body["secret"].startswith("whsec_")
    read = owner.get(made.headers["Location"]).get_json()
    assert read == {name: value for name, value in body.items() if name != "secret"}
    assert (read["url"], read["events"], read["state"]) == (URL, sorted(ENDS), "enabled")


def test_no_secret_is_readable_in_the_database(owner: Api, database: Database) -> None:
    secret = owner.post("/v1/webhooks", json=ENDPOINT).get_json()["secret"]

    with database.connect() as connection:
        row = connection.execute(text("SELECT secret FROM webhook_endpoints ORDER BY id DESC LIMIT 1")).one()
    assert secret.removeprefix("whsec_").encode() not in bytes(row.secret)


def test_endpoints_are_listed_a_page_at_a_time(owner: Api) -> None:
    made = [owner.post("/v1/webhooks", json=ENDPOINT).get_json()["id"] for _ in range(3)]

    first = owner.get("/v1/webhooks?limit=2").get_json()
    second = owner.get(f"/v1/webhooks?limit=2&cursor={first['next_cursor']}").get_json()

    assert [each["id"] for each in first["data"] + second["data"]] == made[::-1]
    assert second["next_cursor"] is None


def test_an_endpoint_is_changed_in_what_is_given(owner: Api, webhook: str) -> None:
    changed = owner.call("PATCH", webhook, json={"events": ["prediction.failed"]}).get_json()

    assert (changed["events"], changed["url"]) == (["prediction.failed"], URL)


def test_another_url_begins_without_failures(owner: Api, webhook: str, database: Database) -> None:
    with autocommit(database) as connection:
        connection.execute(text("UPDATE webhook_endpoints SET failures = 9, failing_since = now()"))

    changed = owner.call("PATCH", webhook, json={"url": "https://new.example.com/"}).get_json()

    assert (changed["url"], changed["failures"], changed["failing_since"]) == ("https://new.example.com/", 0, None)


def test_a_deleted_endpoint_is_gone(owner: Api, webhook: str) -> None:
    assert owner.call("DELETE", webhook).status_code == 204

    assert owner.get(webhook).status_code == 404
    assert owner.get("/v1/webhooks").get_json()["data"] == []


def test_a_rotation_shows_a_new_secret_and_keeps_the_old_one_for_a_day(owner: Api, webhook: str) -> None:
    rotated = owner.post(f"{webhook}/rotate-secret").get_json()

    assert rotated["secret"].startswith("whsec_")
    assert rotated["previous_secret_until"] is not None


def test_an_endpoint_is_paused_with_a_reason_and_resumed(owner: Api, webhook: str) -> None:
    paused = owner.post(f"{webhook}/pause", json={"reason": "the shop moves"}).get_json()
    resumed = owner.post(f"{webhook}/resume").get_json()

    assert (paused["state"], paused["pause_reason"]) == ("paused", "the shop moves")
    assert (resumed["state"], resumed["pause_reason"]) == ("enabled", None)


def test_a_test_is_a_delivery_like_any_other(owner: Api, webhook: str) -> None:
    asked = owner.post(f"{webhook}/test")

    assert asked.status_code == 202
    delivery = owner.get(asked.headers["Location"]).get_json()
    assert (delivery["event"], delivery["state"], delivery["attempts_made"]) == ("webhook.test", "pending", [])
    assert delivery["payload"]["data"]["webhook"] == webhook.rpartition("/")[2]


def test_a_paused_endpoint_is_not_tried(owner: Api, webhook: str) -> None:
    owner.post(f"{webhook}/pause", json={})

    refused = owner.post(f"{webhook}/test")

    assert (refused.status_code, refused.get_json()["type"]) == (409, "webhook-state")


def test_an_answered_prediction_is_to_be_told(owner: Api, webhook: str) -> None:
    prediction = owner.predict_xor().get_json()["id"]

    [delivery] = deliveries(owner, webhook)
    assert (delivery["subject"], delivery["event"], delivery["state"]) == (
        prediction,
        "prediction.succeeded",
        "pending",
    )


def test_a_prediction_may_name_an_endpoint(owner: Api) -> None:
    named = owner.post("/v1/webhooks", json={"url": URL}).get_json()["id"]

    prediction = owner.predict_xor(query_string={"webhook": named}).get_json()["id"]
    owner.predict_xor()

    assert [each["subject"] for each in deliveries(owner, f"/v1/webhooks/{named}")] == [prediction]


@pytest.mark.usefixtures("no_worker")
def test_a_cancelled_prediction_is_to_be_told(owner: Api) -> None:
    webhook = owner.post("/v1/webhooks", json=ENDPOINT).headers["Location"]
    prediction = owner.predict_xor(headers={"Prefer": "respond-async"}).get_json()["id"]

    owner.post(f"/v1/predictions/{prediction}/cancel")

    assert [each["event"] for each in deliveries(owner, webhook)] == ["prediction.canceled"]


def test_naming_an_endpoint_makes_no_repeat_of_a_request_without(owner: Api, webhook: str) -> None:
    key = {"Idempotency-Key": str(uuid4())}
    owner.predict_xor(headers=key)

    again = owner.predict_xor(headers=key, query_string={"webhook": webhook.rpartition("/")[2]})

    assert again.status_code == 409


def test_naming_anybody_elses_endpoint_is_refused_and_changes_nothing(
    api_for: ApiFor, owner: Api, webhook: str
) -> None:
    stranger = api_for(Scope.PREDICT, Scope.READ)

    refused = stranger.predict_xor(query_string={"webhook": webhook.rpartition("/")[2]})

    assert (refused.status_code, refused.get_json()["field"]) == (422, "webhook")
    assert stranger.get("/v1/predictions").get_json()["data"] == []
    assert deliveries(owner, webhook) == []


def test_deliveries_are_listed_by_state(owner: Api, webhook: str, database: Database) -> None:
    owner.post(f"{webhook}/test")
    with autocommit(database) as connection:
        connection.execute(text("UPDATE webhook_deliveries SET state = 'dead', finished_at = now()"))
    owner.post(f"{webhook}/test")

    assert [each["state"] for each in deliveries(owner, webhook)] == ["pending", "dead"]
    assert [each["state"] for each in deliveries(owner, webhook, state="dead")] == ["dead"]


def test_a_dead_delivery_is_sent_again_under_its_id(owner: Api, webhook: str, database: Database) -> None:
    asked = owner.post(f"{webhook}/test")
    with autocommit(database) as connection:
        connection.execute(text("UPDATE webhook_deliveries SET state = 'dead', failures = 10, finished_at = now()"))

    again = owner.post(f"{asked.headers['Location']}/redeliver")

    assert (again.status_code, again.get_json()["state"]) == (202, "pending")
    assert again.get_json()["id"] == asked.get_json()["id"]


def test_a_delivery_on_its_way_is_not_sent_again(owner: Api, webhook: str, database: Database) -> None:
    asked = owner.post(f"{webhook}/test")
    with autocommit(database) as connection:
        connection.execute(text("UPDATE webhook_deliveries SET state = 'sending'"))

    refused = owner.post(f"{asked.headers['Location']}/redeliver")

    assert (refused.status_code, refused.get_json()["type"]) == (409, "webhook-state")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", ""),
        ("PATCH", ""),
        ("DELETE", ""),
        ("POST", "/rotate-secret"),
        ("POST", "/pause"),
        ("POST", "/resume"),
        ("POST", "/test"),
        ("GET", "/deliveries"),
    ],
)
def test_another_keys_endpoint_is_not_there(api_for: ApiFor, webhook: str, method: str, path: str) -> None:
    stranger = api_for(Scope.PREDICT, Scope.READ)
    body: dict[str, dict[str, str]] = {"json": {}} if method in ("PATCH", "POST") else {}

    found = stranger.call(method, webhook + path, **body)

    assert (found.status_code, found.get_json()["type"]) == (404, "unknown-webhook")


@pytest.mark.parametrize(("method", "path"), [("GET", ""), ("POST", "/redeliver")])
def test_another_keys_delivery_is_not_there(api_for: ApiFor, owner: Api, webhook: str, method: str, path: str) -> None:
    delivery = owner.post(f"{webhook}/test").headers["Location"]

    found = api_for(Scope.PREDICT, Scope.READ).call(method, delivery + path)

    assert (found.status_code, found.get_json()["type"]) == (404, "unknown-webhook-delivery")


@pytest.mark.parametrize(
    ("body", "field", "kind"),
    [
        ({}, "url", "invalid-request"),
        ({"url": "ftp://shop.example.com/"}, "url", "invalid-webhook-url"),
        ({"url": "http://127.0.0.1/"}, "url", "invalid-webhook-url"),
        ({"url": "http://169.254.169.254/"}, "url", "invalid-webhook-url"),
        ({"url": URL, "events": ["prediction.guessed"]}, "events.0", "invalid-request"),
        ({"url": URL, "events": ["prediction.failed"] * 2}, "events", "invalid-request"),
        ({"url": URL, "description": "a\0b"}, "description", "invalid-request"),
        ({"url": "https://a\0b.example.com/"}, "url", "invalid-request"),
    ],
)
def test_what_makes_no_endpoint_is_refused_by_name(owner: Api, body: dict[str, object], field: str, kind: str) -> None:
    refused = owner.post("/v1/webhooks", json=body)

    assert (refused.status_code, refused.get_json()["field"], refused.get_json()["type"]) == (422, field, kind)
    assert owner.get("/v1/webhooks").get_json()["data"] == []


def test_trainings_are_told_to_keys_that_may_read_them(api_for: ApiFor) -> None:
    body = {"url": URL, "events": ["training.succeeded"]}

    assert api_for(Scope.PREDICT).post("/v1/webhooks", json=body).status_code == 403
    assert api_for(Scope.PREDICT, Scope.READ).post("/v1/webhooks", json=body).status_code == 201


def test_a_key_may_have_twenty_endpoints(owner: Api) -> None:
    made = [owner.post("/v1/webhooks", json={"url": URL}).status_code for _ in range(21)]

    assert made == [201] * 20 + [409]


def test_an_admin_sees_everybodys(api: Api, webhook: str) -> None:
    assert api.get(webhook).status_code == 200


def test_the_metrics_tell_what_waits(owner: Api, webhook: str) -> None:
    owner.post(f"{webhook}/test")

    metrics = owner.get("/metrics").text
    assert 'torchqueue_webhook_deliveries_open{state="pending"} 1.0' in metrics
    assert "torchqueue_webhook_oldest_seconds" in metrics


def test_without_a_key_for_their_secrets_nobody_makes_endpoints(settings: Settings, database: Database) -> None:
    with web_process(settings, webhook_key="") as app:
        refused = Api(app, make_key(database, Scope.PREDICT)).post("/v1/webhooks", json=ENDPOINT)

    assert (refused.status_code, refused.get_json()["type"]) == (503, "webhooks-not-configured")


def test_an_endpoint_that_was_deleted_can_be_named_no_more(app: Flask, owner: Api, webhook: str) -> None:
    name = {"webhook": webhook.rpartition("/")[2]}
    owner.predict_xor(query_string=name)
    owner.call("DELETE", webhook)

    services = app.extensions["torchqueue"]
    services.webhooks._memo._known.clear()

    wait_until(lambda: owner.predict_xor(query_string=name).status_code == 422)
