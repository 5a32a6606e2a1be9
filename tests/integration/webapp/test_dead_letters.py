"""Dead letters over HTTP."""

from collections.abc import Iterator
from uuid import UUID

import pytest
from flask import Flask
from sqlalchemy import Engine as Database

from schemas.enums import Scope
from store.database import open_session
from store.keys import verify_key
from store.models import ServedVersion
from tests.factories import Rows, autocommit
from tests.integration.serving import Api, make_key
from tests.integration.store.test_dead_letters import dead_letter
from tests.integration.webapp.conftest import ApiFor
from tests.integration.webapp.problems import assert_problem

pytestmark = pytest.mark.usefixtures("calm")


@pytest.fixture
def ledger_rows(database: Database, xor: ServedVersion) -> Iterator[Rows]:
    """Rows that everybody sees."""
    with autocommit(database) as connection:
        yield Rows(connection, xor)


@pytest.fixture
def calm(no_worker: None) -> None:
    """A test kills the workers that it makes up; the real one would be faster."""


def test_dead_letters_are_listed_with_their_reasons(api: Api, ledger_rows: Rows) -> None:
    prediction_id = dead_letter(ledger_rows)

    [letter] = api.get("/v1/dead-letters").get_json()["data"]

    assert (letter["id"], letter["kind"], letter["model"]) == (str(prediction_id), "prediction", "xor")
    assert (letter["reason"], letter["attempts"], letter["crashes"]) == ("worker_crash", 2, 2)


def test_pages_of_dead_letters_follow_each_other(api: Api, ledger_rows: Rows) -> None:
    ids = [str(dead_letter(ledger_rows)) for _ in range(3)]

    first = api.get("/v1/dead-letters", query_string={"limit": 2}).get_json()
    second = api.get("/v1/dead-letters", query_string={"limit": 2, "cursor": first["next_cursor"]}).get_json()

    assert [each["id"] for each in first["data"] + second["data"]] == ids[::-1]
    assert second["next_cursor"] is None


@pytest.mark.usefixtures("worker")
def test_a_key_sees_its_own_dead_letters(app: Flask, database: Database, ledger_rows: Rows) -> None:
    key = make_key(database, Scope.READ)
    with open_session(database) as session:
        tenant = verify_key(session, key).api_key_id
    own = dead_letter(ledger_rows, api_key_id=tenant)
    dead_letter(ledger_rows)
    mine = Api(app, key)

    assert [each["id"] for each in mine.get("/v1/dead-letters").get_json()["data"]] == [str(own)]


def test_a_redrive_is_a_new_prediction(api: Api, ledger_rows: Rows) -> None:
    prediction_id = dead_letter(ledger_rows)

    response = api.post(f"/v1/predictions/{prediction_id}/redrive")

    body = response.get_json()
    assert (response.status_code, body["status"], body["redrive_of"]) == (202, "queued", str(prediction_id))
    assert response.headers["Location"].endswith(body["id"])
    assert api.get(f"/v1/predictions/{prediction_id}").get_json()["error"]["code"] == "worker_crash"


def test_redriving_twice_answers_with_the_same(api: Api, ledger_rows: Rows) -> None:
    path = f"/v1/predictions/{dead_letter(ledger_rows)}/redrive"

    assert api.post(path).get_json()["id"] == api.post(path).get_json()["id"]


def test_many_are_redriven_at_once_and_the_rest_when_asked_again(api: Api, ledger_rows: Rows) -> None:
    oldest, newest = dead_letter(ledger_rows), dead_letter(ledger_rows)

    first = api.post("/v1/dead-letters/redrive", json={"limit": 1}).get_json()
    second = api.post("/v1/dead-letters/redrive", json={}).get_json()

    assert [[UUID(each["id"]) for each in answer["data"]] for answer in (first, second)] == [[oldest], [newest]]
    assert (first["more"], second["more"]) == (True, False)


def test_another_keys_dead_letter_is_unknown(api_for: ApiFor, ledger_rows: Rows) -> None:
    response = api_for(Scope.PREDICT).post(f"/v1/predictions/{dead_letter(ledger_rows)}/redrive")

    assert_problem(response, 404, "unknown-prediction")


def test_what_waits_is_no_dead_letter(api: Api, ledger_rows: Rows) -> None:
    response = api.post(f"/v1/predictions/{ledger_rows.add()}/redrive")

    assert_problem(response, 409, "prediction-state")
    assert "is queued: it is no dead letter" in response.get_json()["detail"]


@pytest.mark.parametrize("scope", [Scope.READ, Scope.TRAIN])
def test_a_key_that_may_not_predict_redrives_nothing(api_for: ApiFor, ledger_rows: Rows, scope: Scope) -> None:
    api = api_for(scope)

    assert_problem(api.post(f"/v1/predictions/{dead_letter(ledger_rows)}/redrive"), 403, "scope-too-small")
    assert_problem(api.post("/v1/dead-letters/redrive", json={}), 403, "scope-too-small")


@pytest.mark.parametrize(
    ("field", "value"),
    [("limit", 0), ("limit", 1001), ("since", "yesterday"), ("until", "2026-11-20T12:00:00"), ("nope", 1)],
)
def test_a_choice_that_makes_no_sense_redrives_nothing(api: Api, ledger_rows: Rows, field: str, value: object) -> None:
    dead_letter(ledger_rows)

    assert_problem(api.post("/v1/dead-letters/redrive", json={field: value}), 422, "invalid-request", field)

    assert [each["redriven_as"] for each in api.get("/v1/dead-letters").get_json()["data"]] == [None]


def test_metrics_count_what_nobody_asked_again(api: Api, ledger_rows: Rows) -> None:
    dead_letter(ledger_rows)

    metrics = api.get("/metrics").get_data(as_text=True)

    assert 'torchqueue_dead_letters{model="xor",reason="worker_crash"} 1.0' in metrics


def test_metrics_tell_of_workers_and_of_postgres(api: Api) -> None:
    metrics = api.get("/metrics").get_data(as_text=True)

    assert 'torchqueue_workers{device="cpu:0",role="inference",state="serving"}' in metrics
    assert "torchqueue_postgres_oldest_snapshot_seconds" in metrics
    assert 'torchqueue_postgres_alarm{alarm="dead_rows"} 0.0' in metrics
