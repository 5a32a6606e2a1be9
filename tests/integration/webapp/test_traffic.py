"""Split traffic over HTTP: who answers, what the rows say, what is refused, what is compared."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import Engine as Database
from sqlalchemy import text

from schemas.enums import DecisionAction, Scope
from schemas.model_settings import MEBIBYTE, CacheSettings, ModelSettings
from store.database import open_session
from store.decisions import list_decisions
from store.models import configure, get_version, resolve
from store.promotion import archive
from tests.factories import add_version, autocommit
from tests.integration.serving import Api, BackgroundWorker
from tests.integration.webapp.conftest import ApiFor
from tests.integration.webapp.problems import assert_problem
from tests.running import wait_until
from webapp.services import EXTENSION, Services

PATH = "/v1/models/xor/traffic"

ANY_KEY = 40

HALVES: dict[str, Any] = {"policy": "fixed", "weights": {"1": 50, "2": 50}}


@pytest.fixture(autouse=True)
def versions(database: Database, worker: BackgroundWorker) -> Iterator[None]:  # noqa: ARG001 - it goes last
    """Xor has three versions of the same weights."""
    with open_session(database) as session:
        like = resolve(session, "xor")
        for _ in range(2):
            add_version(session, "xor", like=like)
    yield
    clean_traffic(database)


def clean_traffic(database: Database) -> None:
    """Remove what a test left; the worker of this file goes on."""
    with open_session(database) as session:
        configure(session, name="xor", settings=ModelSettings())
    with autocommit(database) as connection:
        for table in ("traffic", "traffic_minutes", "feedback", "predictions", "finished_seconds"):
            connection.execute(text(f"DELETE FROM {table}"))
        connection.execute(text("DELETE FROM decisions WHERE reason <> 'bundled with torchqueue'"))
        connection.execute(text("DELETE FROM model_versions WHERE source <> 'bundled'"))


def put(api: Api, app: Flask, **plan: Any) -> None:
    """Split the traffic of xor, and wait until the process knows."""
    response = api.call("PUT", PATH, json=HALVES | plan)
    assert response.status_code == 200, response.get_json()
    services: Services = app.extensions[EXTENSION]
    # The versions of the test before had the same numbers and other ids.
    services.models._memo._known.clear()
    wanted = response.get_json()

    def knows() -> bool:
        split = services.models.route("xor", None).split
        arms = [] if split is None else [(arm.version.number, arm.probability) for arm in split.arms]
        shadows = [] if split is None else [shadow.number for shadow in split.shadows]
        sticky = "none" if split is None else str(split.sticky)
        told = [(arm["version"], arm["probability"]) for arm in wanted["arms"]]
        return (arms, shadows) == (told, wanted["shadows"]) and (split is None or sticky == wanted["sticky"])

    wait_until(knows)


def ask(api: Api, **options: Any) -> dict[str, Any]:
    body: dict[str, Any] = api.predict_xor(**options).get_json()
    return body


def asked(api: Api, count: int = ANY_KEY, **options: Any) -> Counter[int]:
    return Counter(ask(api, **options)["version"] for _ in range(count))


def decisions(database: Database, action: DecisionAction) -> int:
    with open_session(database) as session:
        model_id = resolve(session, "xor").model_id
        return sum(each.action == action for each in list_decisions(session, model_id=model_id, limit=50))


def test_a_model_without_a_split_says_so(api: Api) -> None:
    body = api.get(PATH).get_json()

    assert (body["policy"], body["champion"], body["arms"], body["started_at"]) == ("none", 1, [], None)


def test_both_versions_answer(api: Api, app: Flask) -> None:
    put(api, app)

    assert {*asked(api)} == {1, 2}


def test_an_answer_tells_with_which_probability_its_version_was_chosen(api: Api, app: Flask) -> None:
    put(api, app, weights={"1": 90, "2": 10})
    body = ask(api)

    assert body["assignment_probability"] == {1: 0.9, 2: 0.1}[body["version"]]
    assert api.get(f"/v1/predictions/{body['id']}").get_json() == body


def test_a_request_that_names_a_version_is_not_split(api: Api, app: Flask) -> None:
    put(api, app, weights={"1": 1, "2": 1_000_000})
    body = ask(api, query_string={"version": 1})

    assert (body["version"], body["assignment_probability"]) == (1, None)


@pytest.mark.parametrize(
    ("sticky", "options"),
    [
        ("item", {"query_string": {"catalog": "shop", "external_id": "42"}}),
        ("api_key", {}),
        ("header", {"headers": {"X-Sticky-Key": "user-1"}}),
    ],
)
def test_a_key_goes_to_one_version(api: Api, app: Flask, sticky: str, options: dict[str, Any]) -> None:
    put(api, app, sticky=sticky)

    assert len(asked(api, 12, **options)) == 1


def test_other_keys_go_to_other_versions(api: Api, app: Flask) -> None:
    put(api, app, sticky="header")

    found = {ask(api, headers={"X-Sticky-Key": f"user-{number}"})["version"] for number in range(ANY_KEY)}
    assert found == {1, 2}


def test_a_repeat_is_answered_by_the_version_of_the_first(api: Api, app: Flask) -> None:
    put(api, app)
    headers = {"Idempotency-Key": "order-7"}
    first = ask(api, headers=headers)
    put(api, app, weights={"1": 1, "2": 1_000_000} if first["version"] == 1 else {"1": 1_000_000, "2": 1})

    assert ask(api, headers=headers) == first


def test_what_is_remembered_is_remembered_by_version(api: Api, app: Flask, database: Database) -> None:
    with open_session(database) as session:
        configure(session, name="xor", settings=ModelSettings(cache=CacheSettings(ttl_s=60, max_bytes=MEBIBYTE)))
    put(api, app, sticky="header")
    bodies = [ask(api, headers={"X-Sticky-Key": f"user-{number}"}) for number in range(ANY_KEY)]

    computed = [body["version"] for body in bodies if not body["cached"]]
    assert sorted(computed) == [1, 2]
    assert all(body["assignment_probability"] == 0.5 for body in bodies)


def test_a_shadow_computes_what_another_answers(api: Api, app: Flask, database: Database) -> None:
    put(api, app, policy="none", weights={}, shadows=[2, 3])
    answered = ask(api, query_string={"catalog": "shop", "external_id": "42", "priority": "interactive"})
    shadows = _shadows(database, answered["id"])

    assert answered["version"] == 1
    assert [(row.number, row.status, row.priority, row.item_id) for row in shadows] == [
        (2, "succeeded", "bulk", None),
        (3, "succeeded", "bulk", None),
    ]
    assert all(row.result == answered["result"] for row in shadows)
    told = api.get(f"/v1/predictions/{shadows[0].id}").get_json()
    assert told["shadow_of"] == answered["id"]


def test_a_repeat_casts_no_second_shadow(api: Api, app: Flask, database: Database) -> None:
    put(api, app, policy="none", weights={}, shadows=[2])
    headers = {"Idempotency-Key": "order-8"}
    first = ask(api, headers=headers)
    ask(api, headers=headers)
    ask(api)

    assert len(_shadows(database, first["id"])) == 1


def test_the_items_of_a_catalog_know_no_shadows(api: Api, app: Flask, database: Database) -> None:
    put(api, app, policy="none", weights={}, shadows=[2])
    answered = ask(api, query_string={"catalog": "shop", "external_id": "shadowed"})
    _shadows(database, answered["id"])

    listed = api.get("/v1/items/shop/shadowed/predictions").get_json()["data"]
    assert [each["id"] for each in listed] == [answered["id"]]


def test_an_ended_split_leaves_the_champion(api: Api, app: Flask, database: Database) -> None:
    put(api, app, shadows=[3])

    assert api.call("DELETE", PATH).status_code == 204
    services: Services = app.extensions[EXTENSION]
    wait_until(lambda: services.models.route("xor", None).split is None)
    assert {*asked(api, 10)} == {1}
    assert api.get(PATH).get_json()["policy"] == "none"
    assert decisions(database, DecisionAction.TRAFFIC) == 2


@pytest.mark.parametrize(
    ("plan", "status", "slug", "field"),
    [
        ({"policy": "fixed", "weights": {}}, 422, "invalid-traffic", "weights"),
        ({"policy": "fixed", "weights": {"1": 0, "2": 0}}, 422, "invalid-traffic", "weights"),
        ({"policy": "fixed", "weights": {"1": 5, "2": -1}}, 422, "invalid-traffic", "weights"),
        ({"policy": "learned", "weights": {"1": 1, "99": 1}}, 422, "invalid-traffic", "weights"),
        ({"policy": "fixed", "weights": {"2": 1}}, 422, "invalid-traffic", "weights"),
        ({"policy": "fixed", "weights": {"1": 1, "2": 1}, "shadows": [2]}, 422, "invalid-traffic", "shadows"),
        ({"policy": "none", "shadows": [99]}, 422, "invalid-traffic", "shadows"),
        ({"policy": "none", "shadows": [1]}, 422, "invalid-traffic", "shadows"),
        ({"policy": "fixed", "weights": {"1": 1, "3": 1}}, 409, "traffic-conflict", None),
        ({"policy": "none", "shadows": [3]}, 409, "traffic-conflict", None),
        ({"policy": "always"}, 422, "invalid-request", "policy"),
        ({}, 422, "invalid-request", "policy"),
        ({"policy": "fixed", "weights": {"one": 1}}, 422, "invalid-request", "weights.one.key"),
        ({"policy": "fixed", "weights": {"1": "NaN"}}, 422, "invalid-request", "weights.1.value"),
        ({"policy": "none", "sticky": "shoe"}, 422, "invalid-request", "sticky"),
        ({"policy": "none", "guards": {"latency_ratio": 0}}, 422, "invalid-request", "guards.latency_ratio"),
        ({"policy": "none", "learning": {"floor": 1}}, 422, "invalid-request", "learning.floor"),
        ({"policy": "none", "shadow": [2]}, 422, "invalid-request", "shadow"),
    ],
)
def test_a_bad_split_is_refused_and_changes_nothing(
    api: Api, app: Flask, database: Database, plan: dict[str, Any], status: int, slug: str, field: str | None
) -> None:
    put(api, app)
    with open_session(database) as session:
        archive(session, version=get_version(session, "xor", 3), reason="old", actor="tests")
    before = api.get(PATH).get_json()

    assert_problem(api.call("PUT", PATH, json=plan), status, slug, field)
    assert api.get(PATH).get_json() == before
    assert decisions(database, DecisionAction.TRAFFIC) == 1


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "traffic"), ("PUT", "traffic"), ("DELETE", "traffic"), ("GET", "comparison")]
)
def test_an_unknown_model_has_no_traffic(api: Api, method: str, path: str) -> None:
    options = {"json": HALVES} if method == "PUT" else {}

    assert_problem(api.call(method, f"/v1/models/nobody/{path}", **options), 404, "unknown-model")


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
def test_only_an_admin_splits(api_for: ApiFor, method: str) -> None:
    options = {"json": HALVES} if method == "PUT" else {}

    assert_problem(api_for(Scope.READ).call(method, PATH, **options), 403, "scope-too-small")


def test_an_overlong_sticky_key_is_refused(api: Api) -> None:
    assert_problem(api.predict_xor(headers={"X-Sticky-Key": "k" * 256}), 422, "invalid-request", "X-Sticky-Key")


def test_a_comparison_counts_what_both_versions_did(api: Api, app: Flask, database: Database) -> None:
    put(api, app, shadows=[3])
    counts = asked(api, 30)
    with autocommit(database) as connection:
        # Shares are held against what was assigned once every web process had heard of them.
        connection.execute(text("UPDATE traffic SET updated_at = updated_at - interval '10 s'"))
    wait_until(lambda: _comparison(api)["shadows"][0]["agreement"]["value"] is not None)

    body = _comparison(api)
    assert {each["version"]: each["requests"] for each in body["versions"]} == counts
    assert (body["champion"], body["policy"]) == (1, "fixed")
    assert body["sample_ratio"]["counts"] == {str(number): count for number, count in counts.items()}
    assert [(each["version"], each["verdict"]) for each in body["comparisons"]] == [(2, "undecided")]
    assert body["shadows"][0]["agreement"]["value"] == 1.0


def test_a_comparison_may_begin_later(api: Api, app: Flask) -> None:
    put(api, app)
    asked(api, 3)

    later = api.get("/v1/models/xor/comparison?since=2100-01-01T00:00:00Z").get_json()
    assert sum(each["requests"] for each in later["versions"]) == 0


def test_a_time_without_a_zone_is_refused(api: Api) -> None:
    assert_problem(api.get("/v1/models/xor/comparison?since=2026-01-01T00:00:00"), 422, "invalid-request", "since")


def _comparison(api: Api) -> dict[str, Any]:
    body: dict[str, Any] = api.get("/v1/models/xor/comparison").get_json()
    return body


def _shadows(database: Database, answered: str) -> list[Any]:
    """The shadow rows of an answer, by version, once all have ended."""
    statement = text(
        "SELECT p.*, v.number FROM predictions p JOIN model_versions v ON v.id = p.model_version_id "
        "WHERE p.shadow_of = :id ORDER BY v.number"
    )

    def read() -> list[Any]:
        with autocommit(database) as connection:
            return list(connection.execute(statement, {"id": answered}))

    wait_until(lambda: bool(rows := read()) and all(row.finished_at for row in rows))
    return read()
