"""Backtests over HTTP, and what the gate said of a version."""

from typing import Any

import pytest
from sqlalchemy import Engine as Database

from schemas.enums import GateOutcome, Scope
from store.database import open_session
from store.gate_verdicts import Verdict, carry_out
from store.models import get_model, get_version, register_version
from tasks.backtesting import advance_backtests
from tests.factories import clean
from tests.integration.serving import Api
from tests.integration.webapp.conftest import ApiFor
from tests.integration.webapp.problems import assert_problem
from tests.running import wait_until


@pytest.fixture
def second(database: Database) -> Any:
    """A second version of `xor`, with the weights of the first."""
    with open_session(database) as session:
        first = get_version(session, "xor", 1)
        number = register_version(
            session,
            name="xor",
            kind="classification",
            config=first.config,
            weights_sha256=first.weights_sha256,
            weights_bytes=first.weights_bytes,
            metrics={},
            source="trained",
        ).number
    yield number
    clean(database)


@pytest.fixture
def feedback(api: Api) -> list[str]:
    """Ids of three predictions of the admin's that are labelled, one of them as wrong."""
    ids = [api.predict_xor().get_json()["id"] for _ in range(3)]
    for prediction_id, label in zip(ids, ["1", "1", "0"], strict=True):
        put = api.call("PUT", f"/v1/predictions/{prediction_id}/feedback", json={"label": label})
        assert put.status_code == 200, put.get_json()
    return ids


def test_a_backtest_tells_the_difference(api: Api, database: Database, second: int, feedback: list[str]) -> None:
    created = api.post("/v1/models/xor/backtests", json={"version": second})

    assert created.status_code == 202
    done = run(api, database, created.headers["Location"])
    assert (done["version"], done["baseline"], done["status"]) == (second, 1, "succeeded")
    assert done["progress"] == {"requests": 3, "compared": 3, "skipped": 0, "share": 1.0}
    assert done["difference"]["candidate"] == done["difference"]["baseline"] == pytest.approx(2 / 3)
    assert done["difference"]["low"] < 0 < done["difference"]["high"]
    assert done["latency_ms"]["candidate"] > 0
    assert len(feedback) == 3


def test_versions_that_agree_have_no_disagreements(
    api: Api, database: Database, second: int, feedback: list[str]
) -> None:
    location = api.post("/v1/models/xor/backtests", json={"version": second}).headers["Location"]
    run(api, database, location)

    assert api.get(f"{location}/disagreements").get_json() == {"data": [], "next_cursor": None}
    assert len(feedback) == 3


def test_replays_are_no_feedback_and_no_traffic_of_their_own(
    api: Api, database: Database, second: int, feedback: list[str]
) -> None:
    location = api.post("/v1/models/xor/backtests", json={"version": second}).headers["Location"]
    run(api, database, location)

    again = api.post("/v1/models/xor/backtests", json={"version": second}).get_json()

    assert again["progress"]["requests"] == len(feedback)


def test_only_the_newest_are_replayed(api: Api, second: int, feedback: list[str]) -> None:
    body = api.post("/v1/models/xor/backtests", json={"version": second, "limit": 2}).get_json()

    assert body["progress"]["requests"] == 2
    assert len(feedback) == 3


def test_a_span_of_time_chooses(api: Api, second: int, feedback: list[str]) -> None:
    created_at = api.get(f"/v1/predictions/{feedback[1]}").get_json()["created_at"]

    body = api.post("/v1/models/xor/backtests", json={"version": second, "since": created_at}).get_json()

    assert body["progress"]["requests"] == 2


def test_backtests_are_listed_newest_first(api: Api, second: int, feedback: list[str]) -> None:
    ids = [api.post("/v1/models/xor/backtests", json={"version": second}).get_json()["id"] for _ in range(3)]

    first = api.get("/v1/models/xor/backtests", query_string={"limit": 2}).get_json()
    last = api.get("/v1/models/xor/backtests", query_string={"cursor": first["next_cursor"]}).get_json()

    assert [each["id"] for each in first["data"] + last["data"]] == ids[::-1]
    assert len(feedback) == 3


def test_a_backtest_can_be_cancelled(api: Api, second: int, feedback: list[str]) -> None:
    location = api.post("/v1/models/xor/backtests", json={"version": second}).headers["Location"]

    answers = [api.post(f"{location}/cancel") for _ in range(2)]

    assert [(each.status_code, each.get_json()["status"]) for each in answers] == [(200, "canceled")] * 2
    assert len(feedback) == 3


def test_a_finished_backtest_cannot_be_cancelled(
    api: Api, database: Database, second: int, feedback: list[str]
) -> None:
    location = api.post("/v1/models/xor/backtests", json={"version": second}).headers["Location"]
    run(api, database, location)

    assert_problem(api.post(f"{location}/cancel"), 409, "backtest-state")
    assert len(feedback) == 3


@pytest.mark.parametrize(
    ("wanted", "status", "slug"),
    [
        ({"version": 99}, 404, "unknown-version"),
        ({"version": 1, "baseline": 99}, 404, "unknown-version"),
        ({"version": 1}, 422, "same-version"),
    ],
)
def test_what_cannot_be_replayed_is_refused(api: Api, wanted: dict[str, Any], status: int, slug: str) -> None:
    assert_problem(api.post("/v1/models/xor/backtests", json=wanted), status, slug)


@pytest.mark.parametrize(
    ("wanted", "field"),
    [
        ({"version": "one"}, "version"),
        ({}, "version"),
        ({"version": 1, "limit": 0}, "limit"),
        ({"version": 1, "since": "2026-01-02T00:00:00Z", "until": "2026-01-01T00:00:00Z"}, "until"),
    ],
)
def test_a_request_that_makes_no_sense_names_its_field(api: Api, wanted: dict[str, Any], field: str) -> None:
    assert_problem(api.post("/v1/models/xor/backtests", json=wanted), 422, "invalid-request", field)


def test_a_span_without_feedback_is_refused_and_leaves_nothing(api: Api, second: int, feedback: list[str]) -> None:
    wanted = {"version": second, "until": "2020-01-01T00:00:00Z"}

    assert_problem(api.post("/v1/models/xor/backtests", json=wanted), 422, "no-feedback")
    assert api.get("/v1/models/xor/backtests").get_json()["data"] == []
    assert len(feedback) == 3


def test_a_model_whose_answers_have_no_label_is_refused(api: Api) -> None:
    assert_problem(api.post("/v1/models/garments/backtests", json={"version": 1}), 422, "no-backtest")


def test_another_keys_feedback_is_not_replayed(api_for: ApiFor, second: int, feedback: list[str]) -> None:
    stranger = api_for(Scope.TRAIN, Scope.READ)

    assert_problem(stranger.post("/v1/models/xor/backtests", json={"version": second}), 422, "no-feedback")
    assert len(feedback) == 3


@pytest.mark.parametrize(("method", "path"), [("GET", ""), ("POST", "/cancel"), ("GET", "/disagreements")])
def test_another_keys_backtest_is_unknown(
    api: Api, api_for: ApiFor, second: int, feedback: list[str], method: str, path: str
) -> None:
    location = api.post("/v1/models/xor/backtests", json={"version": second}).headers["Location"]

    answer = api_for(Scope.TRAIN, Scope.READ).call(method, f"{location}{path}")

    assert_problem(answer, 404, "unknown-backtest")
    assert len(feedback) == 3


def test_replaying_takes_the_scope_of_training(api_for: ApiFor) -> None:
    answer = api_for(Scope.READ, Scope.PREDICT).post("/v1/models/xor/backtests", json={"version": 1})

    assert_problem(answer, 403, "scope-too-small")


def test_a_version_tells_what_the_gate_said(api: Api, database: Database, second: int) -> None:
    verdict = Verdict(
        outcome=GateOutcome.ARCHIVED,
        reason="not better",
        policy="manual",
        champion_id=_champion(database),
        training_id=None,
        comparisons=[],
        guards=[],
    )
    with open_session(database) as session:
        carry_out(session, get_version(session, "xor", second), verdict)

    gate = api.get(f"/v1/models/xor/versions/{second}").get_json()["gate"]

    assert (gate["outcome"], gate["reason"], gate["champion"]) == ("archived", "not better", 1)
    assert api.get("/v1/models/xor/versions/1").get_json()["gate"] is None


def run(api: Api, database: Database, location: str) -> dict[str, Any]:
    """Advance as beat does until the backtest is finished."""

    def finished() -> bool:
        advance_backtests(database)
        return bool(api.get(location).get_json()["status"] != "running")

    wait_until(finished)
    body: dict[str, Any] = api.get(location).get_json()
    return body


def _champion(database: Database) -> int:
    with open_session(database) as session:
        found = get_model(session, "xor").champion
        assert found is not None
        return found.id
