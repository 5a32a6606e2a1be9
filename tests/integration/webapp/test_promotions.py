"""Promotions over HTTP, with a worker that loads what is promoted."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import Engine as Database

from ml.bundles import BUNDLED_DIRECTORY, read_bundle
from schemas.decisions import DecisionPageSchema
from schemas.enums import Scope
from store.database import open_session
from store.models import get_version, register_version
from store.objects import ObjectStore
from store.promotion import archive
from tests.factories import clean_models
from tests.integration.serving import Api
from tests.integration.webapp.conftest import ApiFor
from tests.integration.webapp.problems import assert_problem
from tests.running import wait_until
from webapp.services import EXTENSION, ModelCache, Services

XOR = read_bundle(BUNDLED_DIRECTORY / "xor")

#: A version of these labels answers the opposite of the bundled one, so that each answer tells who gave it.
SWAPPED = {**XOR.config, "labels": XOR.config["labels"][::-1]}

BETTER: dict[str, Any] = {"json": {"reason": "better"}}
WORSE: dict[str, Any] = {"json": {"reason": "worse"}}


@pytest.fixture(autouse=True)
def _second(app: Flask, api: Api, database: Database, objects: ObjectStore) -> Iterator[None]:  # noqa: ARG001 - its worker loads it
    """A second version of `xor`."""
    register(database, objects)
    yield
    clean_models(database)
    # What the web process remembers is gone.
    services: Services = app.extensions[EXTENSION]
    services.models = ModelCache(database)


def test_a_promoted_version_answers(api: Api) -> None:
    response = promote(api, 2)

    assert (response.status_code, response.get_json()["champion"], response.get_json()["upcoming"]) == (200, 2, None)
    assert "xor/2" in held(api)


def test_a_rollback_brings_the_version_before_back(api: Api) -> None:
    promote(api, 2)

    response = api.post("/v1/models/xor/rollback", **WORSE)

    assert (response.status_code, response.get_json()["champion"]) == (200, 1)


def test_every_change_is_a_decision(api: Api) -> None:
    promote(api, 2)
    api.post("/v1/models/xor/rollback", **WORSE)

    body = api.get("/v1/models/xor/decisions", query_string={"limit": 2}).get_json()

    assert DecisionPageSchema().validate(body) == {}
    made = [(each["action"], each["version"], each["actor"], each["reason"], each["figures"]) for each in body["data"]]
    assert made == [("rollback", 1, "tests", "worse", {"before": 2}), ("promote", 2, "tests", "better", {"before": 1})]


def test_decisions_come_in_pages_and_by_action(api: Api) -> None:
    promote(api, 2)
    first = api.get("/v1/models/xor/decisions", query_string={"limit": 1}).get_json()
    cursor = first["next_cursor"]

    rest = api.get("/v1/models/xor/decisions", query_string={"cursor": cursor}).get_json()
    rollbacks = api.get("/v1/models/xor/decisions", query_string={"action": "rollback"}).get_json()

    assert ([each["version"] for each in rest["data"]], rest["next_cursor"]) == ([1], None)
    assert rollbacks["data"] == []


def test_a_challenger_is_shown_and_does_not_answer(api: Api) -> None:
    model = promote(api, 2, alias="challenger").get_json()

    assert (model["champion"], model["challenger"]) == (1, 2)
    assert api.get("/v1/models/xor/versions/2").get_json()["aliases"] == ["challenger"]


def test_who_does_not_wait_is_told_that_it_is_upcoming(
    api: Api, database: Database, objects: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.following.VersionFollower.follow", lambda _: None)
    number = register(database, objects)

    response = promote(api, number, headers={"Prefer": "respond-async"})

    assert (response.status_code, response.get_json()["champion"], response.get_json()["upcoming"]) == (202, 1, number)
    assert (response.headers["Location"], response.headers["Retry-After"]) == ("/v1/models/xor", "1")
    # Called off: the worker might yet load it, and hold its number when the next test gives that to another version.
    assert api.post("/v1/models/xor/rollback", **WORSE).get_json()["upcoming"] is None


def test_a_version_that_cannot_be_loaded_leaves_the_champion_and_says_why(
    api: Api, database: Database, objects: ObjectStore
) -> None:
    number = register(database, objects, weights=b"no weights at all")

    assert_problem(promote(api, number), 409, "version-state")

    version = api.get(f"/v1/models/xor/versions/{number}").get_json()
    [decision] = api.get("/v1/models/xor/decisions", query_string={"limit": 1}).get_json()["data"]
    assert "not safetensors" in version["failure"]
    assert (decision["action"], decision["version"], decision["actor"]) == ("load_failed", number, "torchqueue")
    assert api.get("/v1/models/xor").get_json()["champion"] == 1
    assert api.predict_xor().get_json()["version"] == 1
    assert_problem(promote(api, number), 409, "version-state")


def test_an_archived_version_is_refused(api: Api, database: Database) -> None:
    with open_session(database) as session:
        archive(session, version=get_version(session, "xor", 2), reason="worse", actor="tests")

    response = promote(api, 2)

    assert_problem(response, 409, "version-state")
    assert "worse" in response.get_json()["detail"]
    assert api.get("/v1/models/xor/versions/2").get_json()["archive_reason"] == "worse"


def test_a_first_champion_cannot_be_gone_back_from(api: Api) -> None:
    assert_problem(api.post("/v1/models/xor/rollback", **WORSE), 409, "no-earlier-champion")


@pytest.mark.parametrize(
    ("path", "slug"),
    [
        ("/v1/models/nope/versions/1/promote", "unknown-model"),
        ("/v1/models/xor/versions/9/promote", "unknown-version"),
        ("/v1/models/nope/rollback", "unknown-model"),
    ],
)
def test_what_is_unknown_is_named(api: Api, path: str, slug: str) -> None:
    assert_problem(api.post(path, **BETTER), 404, slug)


def test_decisions_about_an_unknown_model_are_not_there(api: Api) -> None:
    assert_problem(api.get("/v1/models/nope/decisions"), 404, "unknown-model")


@pytest.mark.parametrize("reason", [None, "", "  ", "a\0b", "x" * 1001, 7])
@pytest.mark.parametrize("path", ["versions/2/promote", "rollback"])
def test_a_change_without_a_reason_is_refused(api: Api, path: str, reason: object) -> None:
    body = {} if reason is None else {"reason": reason}

    assert_problem(api.post(f"/v1/models/xor/{path}", json=body), 422, "invalid-request", "reason")
    assert api.get("/v1/models/xor").get_json()["champion"] == 1


def test_an_unknown_alias_is_refused(api: Api) -> None:
    assert_problem(promote(api, 2, alias="canary"), 422, "invalid-request", "alias")


def test_a_body_that_is_no_json_is_refused(api: Api) -> None:
    response = api.post("/v1/models/xor/rollback", data=b"{", content_type="application/json")

    assert_problem(response, 400, "malformed-request")


def test_a_wait_that_cannot_be_read_changes_nothing(api: Api) -> None:
    assert_problem(promote(api, 2, headers={"Prefer": "wait=soon"}), 400, "invalid-header")
    assert api.get("/v1/models/xor").get_json()["champion"] == 1


@pytest.mark.parametrize("path", ["versions/2/promote", "rollback"])
def test_only_an_admin_changes_the_champion(api_for: ApiFor, path: str) -> None:
    assert_problem(api_for(Scope.TRAIN).post(f"/v1/models/xor/{path}", **BETTER), 403, "scope-too-small")


def test_no_request_fails_or_is_answered_by_halves_while_versions_change(api: Api) -> None:
    ended = threading.Event()
    answers: list[tuple[int, str]] = []
    failures: list[str] = []

    def ask() -> None:
        while not ended.is_set():
            response = api.predict_xor(query_string={"no_cache": "true"})
            body = response.get_json()
            if response.status_code == 200 and body["status"] == "succeeded":
                answers.append((body["version"], body["result"]["label"]))
            else:
                failures.append(response.text)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(3):
        assert promote(api, 2).status_code == 200
        assert api.post("/v1/models/xor/rollback", **WORSE).status_code == 200
        wait_for_version(api, 1)
    promote(api, 2)
    wait_for_version(api, 2)
    ended.set()
    for thread in threads:
        thread.join()

    assert failures == []
    assert set(answers) == {(1, "1"), (2, "0")}


def register(database: Database, objects: ObjectStore, weights: bytes = XOR.weights) -> int:
    """Register the next version of `xor`, with swapped labels."""
    with open_session(database) as session:
        return register_version(
            session,
            name="xor",
            kind="classification",
            config=SWAPPED,
            weights_sha256=objects.put(weights),
            weights_bytes=len(weights),
            metrics={},
            source="uploaded",
        ).number


def promote(api: Api, number: int, *, alias: str = "champion", **options: Any) -> Any:
    """Promote a version of `xor`."""
    body = {"reason": "better", "alias": alias}
    return api.post(f"/v1/models/xor/versions/{number}/promote", json=body, **options)


def held(api: Api) -> list[str]:
    """What the workers say that they hold."""
    return [version for worker in api.get("/v1/workers").get_json()["data"] for version in worker["models"]]


def wait_for_version(api: Api, number: int) -> None:
    """Wait until the web process asks a version."""
    wait_until(lambda: api.predict_xor().get_json()["version"] == number)
