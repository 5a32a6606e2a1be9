"""Who may call, what, and whose."""

from datetime import timedelta

import pytest
from flask import Flask
from sqlalchemy import Engine as Database

from schemas.enums import Scope
from store.database import open_session
from store.keys import create_key, revoke_key
from tests.integration.serving import Api
from tests.integration.webapp.conftest import ApiFor
from tests.integration.webapp.problems import assert_problem
from webapp.auth import SCOPE_ATTRIBUTE

OPEN = {
    "api-docs.openapi_json",
    "docs.send_asset",
    "docs.show_docs",
    "docs.start_docs",
    "health.LiveViews",
    "health.MetricsViews",
    "health.ReadyViews",
}


@pytest.mark.usefixtures("api")
@pytest.mark.parametrize("header", [None, "", "Basic YWRtaW46YWRtaW4=", "Bearer", "tq_a_b_c"])
def test_a_request_without_key_is_told_how_to_send_one(app: Flask, header: str | None) -> None:
    response = Api(app, None).get("/v1/models", headers={} if header is None else {"Authorization": header})

    assert_problem(response, 401, "missing-key")
    assert response.headers["WWW-Authenticate"] == 'Bearer realm="torchqueue"'


@pytest.mark.usefixtures("api")
@pytest.mark.parametrize("key", ["wrong", "tq_aaaaaaaaaa_bbbb_00000000", "ä"])
def test_a_key_that_is_none_is_refused(app: Flask, key: str) -> None:
    assert_problem(Api(app, key).predict_xor(), 401, "invalid-key")


@pytest.mark.usefixtures("api")
def test_a_key_with_one_wrong_letter_is_refused(app: Flask, admin_key: str) -> None:
    wrong = admin_key[:-1] + ("0" if admin_key[-1] != "0" else "1")

    assert_problem(Api(app, wrong).predict_xor(), 401, "invalid-key")


def test_a_revoked_key_is_refused(app: Flask, database: Database) -> None:
    with open_session(database) as session:
        row, key = create_key(session, name="tests", scopes=[Scope.ADMIN])
        revoke_key(session, row.public_id)

    assert_problem(Api(app, key).predict_xor(), 401, "invalid-key")


def test_an_expired_key_is_refused(app: Flask, database: Database) -> None:
    with open_session(database) as session:
        _, key = create_key(session, name="tests", scopes=[Scope.ADMIN], expires_in=timedelta(0))

    assert_problem(Api(app, key).predict_xor(), 401, "invalid-key")


@pytest.mark.parametrize("scope", [scope for scope in Scope if scope not in {Scope.PREDICT, Scope.ADMIN}])
def test_only_the_scope_to_predict_may_predict(api_for: ApiFor, scope: Scope) -> None:
    assert_problem(api_for(scope).predict_xor(), 403, "scope-too-small")


@pytest.mark.parametrize("scope", [scope for scope in Scope if scope not in {Scope.READ, Scope.ADMIN}])
def test_only_the_scope_to_read_may_read(api_for: ApiFor, scope: Scope) -> None:
    assert_problem(api_for(scope).get("/v1/predictions"), 403, "scope-too-small")


def test_a_refusal_names_the_scope_that_it_takes(api_for: ApiFor) -> None:
    assert "'predict'" in api_for(Scope.READ).predict_xor().get_json()["detail"]


def test_a_key_may_do_what_its_scopes_say(api_for: ApiFor) -> None:
    api = api_for(Scope.PREDICT, Scope.READ)

    assert api.predict_xor().status_code == 200
    assert api.get("/v1/predictions").status_code == 200


def test_another_tenants_prediction_is_unknown(api_for: ApiFor) -> None:
    mine, theirs = (api_for(Scope.PREDICT, Scope.READ) for _ in range(2))
    prediction_id = mine.predict_xor().get_json()["id"]

    assert_problem(theirs.get(f"/v1/predictions/{prediction_id}"), 404, "unknown-prediction")
    assert_problem(theirs.post(f"/v1/predictions/{prediction_id}/cancel"), 404, "unknown-prediction")


def test_another_tenants_predictions_are_not_listed(api_for: ApiFor) -> None:
    mine, theirs = (api_for(Scope.PREDICT, Scope.READ) for _ in range(2))
    mine.predict_xor()

    assert theirs.get("/v1/predictions").get_json()["data"] == []


def test_an_admin_sees_every_tenants_predictions(api: Api, api_for: ApiFor) -> None:
    prediction_id = api_for(Scope.PREDICT).predict_xor().get_json()["id"]

    assert api.get(f"/v1/predictions/{prediction_id}").status_code == 200


def test_every_route_but_probes_metrics_and_documents_takes_a_scope(app: Flask) -> None:
    unguarded = {
        rule.endpoint
        for rule in app.url_map.iter_rules()
        for method in rule.methods or ()
        if method not in {"HEAD", "OPTIONS"} and not _is_guarded(app, rule.endpoint, method)
    }

    assert unguarded == OPEN


def _is_guarded(app: Flask, endpoint: str, method: str) -> bool:
    view = getattr(app.view_functions[endpoint], "view_class", None)
    return hasattr(getattr(view, method.lower(), None), SCOPE_ATTRIBUTE)
