"""`Idempotency-Key`: a request sent twice is one prediction."""

from typing import Any
from uuid import uuid4

import pytest

from schemas.enums import Scope
from tests.integration.serving import Api
from tests.integration.webapp.conftest import LONG, NO_WAIT, ApiFor, InThread
from tests.integration.webapp.problems import assert_problem
from tests.running import PATIENCE_S


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


def _key(name: str) -> dict[str, str]:
    return {"Idempotency-Key": name}
