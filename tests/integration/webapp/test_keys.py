"""`/v1/keys` and `/v1/audit`: a key's life over HTTP, and who did what."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import Engine as Database

from schemas.enums import Scope
from schemas.keys import CreatedKeySchema, KeySchema
from store.database import open_session
from store.keys import KeyLimits, verify_key
from tests.integration.serving import Api, make_key
from tests.integration.webapp.conftest import ApiFor
from tests.integration.webapp.problems import assert_problem
from tests.running import wait_until
from webapp.headers import REQUEST_ID_HEADER
from webapp.services import EXTENSION, KEY_CACHE_S

LIMITS = {"rate_per_minute": 600, "burst": 20, "max_concurrent": 4, "max_queued": 100}

#: Far less than a key is remembered for: what is heard within it was told.
AT_ONCE_S = KEY_CACHE_S / 2


def make(api: Api, **changes: Any) -> dict[str, Any]:
    """Make a key over HTTP."""
    response = api.post("/v1/keys", json={"name": "shop", "scopes": ["predict", "read"], **changes})
    assert response.status_code == 201, response.text
    found: dict[str, Any] = response.get_json()
    return found


def refused(app: Flask, key: str) -> bool:
    """Whether a key is let in nowhere."""
    return Api(app, key).get("/v1/predictions").status_code == 401


def actions(api: Api, subject: str) -> list[dict[str, Any]]:
    """What was done to something, oldest first."""
    found = api.get("/v1/audit?limit=500").get_json()["data"]
    return [entry for entry in reversed(found) if entry["subject"] == subject]


def test_a_key_is_shown_once_and_works(api: Api, app: Flask) -> None:
    made = make(api)

    assert CreatedKeySchema().validate(made) == {}
    assert Api(app, made["key"]).get("/v1/predictions").status_code == 200
    shown = api.get(f"/v1/keys/{made['id']}")
    assert KeySchema().validate(shown.get_json()) == {}
    assert made["key"].split("_")[2] not in shown.text


def test_a_key_has_the_limits_that_were_asked(api: Api, database: Database) -> None:
    made = make(api, **LIMITS)

    with open_session(database) as session:
        assert verify_key(session, made["key"]).limits == KeyLimits(**LIMITS)


def test_a_key_without_limits_is_unlimited(api: Api, database: Database) -> None:
    with open_session(database) as session:
        assert verify_key(session, make(api)["key"]).limits is None


def test_a_new_key_says_where_it_is(api: Api) -> None:
    response = api.post("/v1/keys", json={"name": "shop", "scopes": ["read"]})

    assert api.get(response.headers["Location"]).get_json()["id"] == response.get_json()["id"]


def test_keys_are_listed_page_by_page(api: Api) -> None:
    made = [make(api)["id"] for _ in range(3)]

    seen: list[str] = []
    cursor: str | None = "0"
    while cursor:
        found = api.get(f"/v1/keys?limit=2&cursor={cursor}").get_json()
        seen += [key["id"] for key in found["data"]]
        cursor = found["next_cursor"]

    assert seen[-3:] == made
    assert len(seen) == len(set(seen))


def test_a_change_keeps_what_it_does_not_name(api: Api) -> None:
    made = make(api, **LIMITS)

    changed = api.call("PATCH", f"/v1/keys/{made['id']}", json={"burst": None, "name": "other"}).get_json()

    assert changed == {**{name: made[name] for name in changed}, "burst": None, "name": "other"}


def test_a_change_is_seen_at_once(api: Api, app: Flask) -> None:
    made = make(api)
    client = Api(app, made["key"])
    assert client.get("/v1/predictions").status_code == 200

    api.call("PATCH", f"/v1/keys/{made['id']}", json={"scopes": ["predict"]})

    wait_until(lambda: client.get("/v1/predictions").status_code == 403, AT_ONCE_S)


def test_a_key_that_expires_later_is_refused_from_then_on(api: Api, app: Flask) -> None:
    past = (datetime.now(UTC) - timedelta(hours=1)).isoformat()

    assert refused(app, make(api, expires_at=past)["key"])


def test_both_secrets_work_until_the_grace_is_over(api: Api, app: Flask) -> None:
    made = make(api)

    rotated = api.post(f"/v1/keys/{made['id']}/rotate", json={"grace_s": 60}).get_json()

    assert rotated["key"] != made["key"]
    assert not refused(app, made["key"])
    assert not refused(app, rotated["key"])


def test_without_grace_the_old_secret_ends_at_once(api: Api, app: Flask) -> None:
    made = make(api)
    assert not refused(app, made["key"])

    rotated = api.post(f"/v1/keys/{made['id']}/rotate", json={"grace_s": 0}).get_json()

    wait_until(lambda: refused(app, made["key"]), AT_ONCE_S)
    assert not refused(app, rotated["key"])


def test_a_rotated_key_keeps_its_data(api: Api, app: Flask) -> None:
    made = make(api)
    prediction = Api(app, made["key"]).predict_xor().get_json()["id"]

    rotated = api.post(f"/v1/keys/{made['id']}/rotate", json={}).get_json()

    assert Api(app, rotated["key"]).get(f"/v1/predictions/{prediction}").status_code == 200


def test_a_revoked_key_is_refused_at_once_with_all_its_secrets(api: Api, app: Flask) -> None:
    made = make(api)
    rotated = api.post(f"/v1/keys/{made['id']}/rotate", json={}).get_json()
    assert not refused(app, made["key"])
    assert not refused(app, rotated["key"])

    api.post(f"/v1/keys/{made['id']}/revoke")

    wait_until(lambda: refused(app, made["key"]) and refused(app, rotated["key"]), AT_ONCE_S)


def test_revoking_twice_is_fine(api: Api) -> None:
    path = f"/v1/keys/{make(api)['id']}/revoke"

    assert api.post(path).get_json()["revoked_at"] == api.post(path).get_json()["revoked_at"]


def test_a_revoked_key_gets_no_other_secret(api: Api) -> None:
    made = make(api)
    api.post(f"/v1/keys/{made['id']}/revoke")

    assert_problem(api.post(f"/v1/keys/{made['id']}/rotate", json={}), 409, "key-state")


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", ""), ("PATCH", ""), ("POST", "/rotate"), ("POST", "/revoke")],
)
def test_a_key_that_is_none_is_not_found(api: Api, method: str, path: str) -> None:
    body: dict[str, Any] = {} if method == "GET" else {"json": {}}

    assert_problem(api.call(method, f"/v1/keys/nobody{path}", **body), 404, "unknown-key")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"name": " "}, "name"),
        ({"name": "a\0b"}, "name"),
        ({"scopes": []}, "scopes"),
        ({"scopes": ["everything"]}, "scopes.0"),
        ({"max_queued": 0}, "max_queued"),
        ({"burst": 2**31}, "burst"),
        ({"rate_per_minute": "many"}, "rate_per_minute"),
        ({"expires_at": "tomorrow"}, "expires_at"),
        ({"secret": "mine"}, "secret"),
    ],
)
def test_what_makes_no_sense_is_named_and_makes_no_key(api: Api, body: dict[str, Any], field: str) -> None:
    before = len(api.get("/v1/keys?limit=500").get_json()["data"])

    response = api.post("/v1/keys", json={"name": "shop", "scopes": ["read"], **body})

    assert_problem(response, 422, "invalid-request", field)
    assert len(api.get("/v1/keys?limit=500").get_json()["data"]) == before


def test_it_is_noted_when_a_key_was_used(api: Api, app: Flask) -> None:
    made = make(api)
    assert api.get(f"/v1/keys/{made['id']}").get_json()["last_used_at"] is None

    Api(app, made["key"]).get("/v1/predictions")

    assert api.get(f"/v1/keys/{made['id']}").get_json()["last_used_at"] is not None


def test_a_keys_life_is_in_the_audit_log(api: Api) -> None:
    made = make(api)
    path = f"/v1/keys/{made['id']}"
    api.call("PATCH", path, json={"max_queued": 5})
    api.post(f"{path}/rotate", json={})
    api.post(f"{path}/revoke")

    found = actions(api, f"keys/{made['id']}")

    assert [entry["action"] for entry in found] == ["create_key", "update_key", "rotate_key", "revoke_key"]
    assert (found[1]["before"]["max_queued"], found[1]["after"]["max_queued"]) == (None, 5)
    assert made["key"].split("_")[2] not in str(found)


def test_an_action_tells_who_from_where_and_by_which_request(api: Api, admin_key: str) -> None:
    response = api.post("/v1/keys", json={"name": "shop", "scopes": ["read"]})

    [entry] = actions(api, f"keys/{response.get_json()['id']}")

    assert (entry["actor"], entry["key"], entry["remote_address"]) == ("tests", admin_key.split("_")[1], "127.0.0.1")
    assert entry["request_id"] == response.headers[REQUEST_ID_HEADER]


def test_a_cancelled_prediction_is_in_the_audit_log(api: Api, no_worker: None) -> None:  # noqa: ARG001 - it waits
    prediction = api.predict_xor(headers={"Prefer": "respond-async"}).get_json()["id"]

    api.post(f"/v1/predictions/{prediction}/cancel")
    api.post(f"/v1/predictions/{prediction}/cancel")

    assert [entry["action"] for entry in actions(api, f"predictions/{prediction}")] == ["cancel_prediction"]


def test_settings_of_a_model_are_in_the_audit_log_as_they_were_and_as_they_are(api: Api) -> None:
    api.call("PUT", "/v1/models/xor", json={"placement": "inline"})
    api.call("PUT", "/v1/models/xor", json={})

    *_, changed, back = actions(api, "models/xor")

    assert changed["after"] == back["before"] != changed["before"]
    assert changed["after"]["placement"] == "inline"


def test_a_number_beyond_64_bits_is_in_the_audit_log(api: Api) -> None:
    changed = api.call("PUT", "/v1/models/xor", json={"gate": {"max_latency_ratio": 1e300}})
    api.call("PUT", "/v1/models/xor", json={})

    assert changed.status_code == 200, changed.text
    assert actions(api, "models/xor")[-2]["after"]["gate"]["max_latency_ratio"] == 1e300


def test_what_is_refused_is_not_in_the_audit_log(api: Api) -> None:
    before = len(actions(api, "models/nope"))

    api.call("PUT", "/v1/models/nope", json={})

    assert len(actions(api, "models/nope")) == before


def test_the_audit_log_is_read_page_by_page_and_by_action(api: Api) -> None:
    for _ in range(3):
        make(api)

    first = api.get("/v1/audit?action=create_key&limit=2").get_json()
    second = api.get(f"/v1/audit?action=create_key&limit=2&cursor={first['next_cursor']}").get_json()

    found = [*first["data"], *second["data"]]
    assert {entry["action"] for entry in found} == {"create_key"}
    assert [int(entry["id"]) for entry in found] == sorted((int(entry["id"]) for entry in found), reverse=True)


def test_only_an_admin_manages_keys(api_for: ApiFor, database: Database) -> None:
    others = [scope for scope in Scope if scope is not Scope.ADMIN]

    assert_problem(api_for(*others).post("/v1/keys", json={"name": "x", "scopes": ["admin"]}), 403, "scope-too-small")
    assert_problem(api_for(*others).get("/v1/audit"), 403, "scope-too-small")
    assert make_key(database, *others)


def test_without_valkey_a_revocation_is_committed_all_the_same(api: Api, app: Flask) -> None:
    made = make(api)
    services = app.extensions[EXTENSION]
    services.redis, kept = services.redis.__class__.from_url("redis://127.0.0.1:1/0"), services.redis
    try:
        revoked = api.post(f"/v1/keys/{made['id']}/revoke")
    finally:
        services.redis = kept

    assert revoked.status_code == 200
    wait_until(lambda: refused(app, made["key"]), 2 * KEY_CACHE_S)
