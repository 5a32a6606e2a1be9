"""Drift over HTTP, and as gauges."""

from schemas.drift import DriftSchema
from tests.integration.serving import Api
from tests.integration.webapp.conftest import ApiFor
from tests.integration.webapp.problems import assert_problem


def test_a_model_that_was_not_checked_yet_says_so(api: Api) -> None:
    body = api.get("/v1/models/diamond-price/drift").get_json()

    assert DriftSchema().validate(body) == {}
    assert (body["version"], body["checked_at"], body["measures"], body["alarms"]) == (1, None, [], [])
    assert (body["settings"]["window"], body["reference"]["wanted"]) == (500, 1000)


def test_an_unknown_model_is_unknown(api: Api) -> None:
    assert_problem(api.get("/v1/models/nope/drift"), 404, "unknown-model")


def test_a_key_needs_the_scope(api_for: ApiFor) -> None:
    assert_problem(api_for().get("/v1/models/xor/drift"), 403, "scope-too-small")


def test_the_settings_say_when_it_is_drift(api: Api) -> None:
    changed = api.call("PUT", "/v1/models/diamond-price", json={"drift": {"window": 200}})

    assert changed.get_json()["settings"]["drift"]["window"] == 200
    assert api.get("/v1/models/diamond-price/drift").get_json()["window"]["wanted"] == 200
    api.call("PUT", "/v1/models/diamond-price", json={})


def test_bad_settings_are_refused(api: Api) -> None:
    response = api.call("PUT", "/v1/models/diamond-price", json={"drift": {"window": 99}})

    assert_problem(response, 422, "invalid-request", "drift.window")
