"""`/v1/models/{model}/trainings` and `/v1/trainings`: asked over HTTP, moved by the ledger as a worker does."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from typing import Any
from unittest.mock import create_autospec
from uuid import UUID

import pytest
import safetensors.torch
import torch
from sqlalchemy import Engine as Database
from sqlalchemy import text
from uuid_utils.compat import uuid7

from schemas.enums import Scope
from store import training_ledger as ledger
from store.database import open_session
from store.errors import ObjectMissingError, ObjectsUnavailableError
from store.objects import ObjectStore
from store.training_ledger import TrainingClaim
from store.trainings import get_training
from tests.factories import Rows, add_model, autocommit
from tests.integration.serving import Api
from tests.integration.webapp.conftest import ApiFor
from tests.integration.webapp.problems import assert_problem
from webapp.posted import pack_json

TRAININGS = "/v1/models/xor/trainings"
SAFETENSORS = "application/x-safetensors"
ROWS = [[0, 0], [0, 1], [1, 0], [1, 1]]
ANSWERS = [0, 1, 1, 0]
PROGRESS = {"epoch": 1, "epochs": 2, "step": 3, "steps": 6, "loss": 0.5, "metric": 0.75}


@pytest.fixture(autouse=True)
def _clean(database: Database) -> Iterator[None]:
    yield
    with autocommit(database) as connection:
        connection.execute(text("DELETE FROM trainings"))


def test_a_training_is_queued_and_can_be_read(api: Api) -> None:
    response = api.post(TRAININGS, json={"epochs": 3, "seed": 5})

    assert response.status_code == 202
    found = api.get(response.headers["Location"]).get_json()
    assert found == response.get_json()
    assert (found["status"], found["trigger"], found["model"], found["actor"]) == ("queued", "api", "xor", "tests")
    assert (found["options"]["epochs"], found["options"]["start"]) == (3, "scratch")


def test_no_body_trains_as_the_model_says(api: Api) -> None:
    assert api.post(TRAININGS).status_code == 202


def test_one_training_of_a_model_runs_at_a_time(api: Api) -> None:
    api.post(TRAININGS)

    assert_problem(api.post(TRAININGS), 409, "training-running")
    assert len(api.get(TRAININGS).get_json()["data"]) == 1


def test_an_unknown_model_is_not_found(api: Api) -> None:
    assert_problem(api.post("/v1/models/nope/trainings"), 404, "unknown-model")
    assert_problem(api.get("/v1/models/nope/trainings"), 404, "unknown-model")
    assert_problem(api.get("/v1/trainings?model=nope"), 404, "unknown-model")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"epochs": 0}, "epochs"),
        ({"start": "middle"}, "start"),
        ({"layers": 3}, "layers"),
        ({"time_limit_s": 0}, "time_limit_s"),
        ({"processes": 65}, "processes"),
        ({"seed": -1}, "seed"),
        ({"sources": []}, "sources"),
        ({"learning_rate": 0}, "learning_rate"),
    ],
)
def test_options_that_make_no_sense_are_named(api: Api, body: dict[str, Any], field: str) -> None:
    response = api.post(TRAININGS, json=body)

    assert_problem(response, 422, "invalid-request", field)
    assert api.get(TRAININGS).get_json()["data"] == []


def test_a_kind_that_does_not_learn_from_feedback_says_so(api: Api) -> None:
    response = api.post("/v1/models/garments/trainings", json={"feedback": "all"})

    assert_problem(response, 422, "invalid-training", "feedback")


def test_no_data_is_refused(api: Api) -> None:
    assert_problem(api.post(TRAININGS, json={"use_base": False}), 422, "no-training-data")


def test_one_class_is_refused(api: Api, database: Database, committed: Rows) -> None:
    correct(database, committed, ["1", "1", "1"])

    response = api.post(TRAININGS, json={"use_base": False})

    assert_problem(response, 422, "no-training-data")
    assert "same label" in response.get_json()["detail"]


@pytest.mark.parametrize(("source", "status"), [("desk", 202), ("elsewhere", 422)])
def test_feedback_is_selected_by_its_source(
    api: Api, database: Database, committed: Rows, source: str, status: int
) -> None:
    correct(database, committed, ["0", "1"])

    assert api.post(TRAININGS, json={"use_base": False, "sources": [source]}).status_code == status


def test_a_model_without_a_recipe_needs_feedback(api: Api, database: Database, committed: Rows) -> None:  # noqa: ARG001
    with open_session(database) as session:
        add_model(session, "own")

    assert_problem(api.post("/v1/models/own/trainings"), 422, "no-training-data")


def test_data_in_the_body_are_kept_for_the_worker(api: Api, objects: ObjectStore) -> None:
    response = api.post(TRAININGS, json={"inputs": ROWS, "targets": ANSWERS, "promote": True})

    assert response.status_code == 202
    tensors = safetensors.torch.load(objects.get(response.get_json()["data_sha256"]))
    assert tensors["inputs"].tolist() == ROWS
    assert (response.get_json()["options"]["use_base"], response.get_json()["options"]["feedback"]) == (False, "none")


@pytest.mark.usefixtures("committed")
def test_data_of_a_training_that_is_refused_are_not_kept(api: Api, database: Database, objects: ObjectStore) -> None:
    with open_session(database) as session:
        version = add_model(session, "fixed", format="torch-export")
    rows = [[7, 7], *ROWS[1:]]
    packed, _ = pack_json(rows, ANSWERS, version)

    response = api.post("/v1/models/fixed/trainings", json={"inputs": rows, "targets": ANSWERS})

    assert_problem(response, 422, "invalid-training", "start")
    with pytest.raises(ObjectMissingError):
        objects.get(sha256(packed).hexdigest())


def test_a_training_whose_data_cannot_be_kept_is_not_queued(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        ObjectStore, "put", create_autospec(ObjectStore.put, side_effect=ObjectsUnavailableError("away"))
    )

    response = api.post(TRAININGS, json={"inputs": ROWS, "targets": ANSWERS})

    assert response.status_code == 503
    assert api.get(TRAININGS).get_json()["data"] == []


def test_data_may_be_safetensors_with_options_in_the_query(api: Api) -> None:
    data = safetensors.torch.save({"inputs": torch.tensor(ROWS).float(), "targets": torch.tensor(ANSWERS)})

    response = api.post(f"{TRAININGS}?epochs=4", data=data, content_type=SAFETENSORS)

    assert response.status_code == 202
    assert (response.get_json()["options"]["epochs"], response.get_json()["data_sha256"] is None) == (4, False)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ('{"inputs": [[0, 0], [0, NaN]], "targets": [0, 1]}', "inputs.1.1"),
        ('{"inputs": [[0, 0], [0, 1]], "targets": [0, 0]}', "targets"),
        ('{"inputs": [[0, 0], [0]], "targets": [0, 1]}', "inputs.1"),
        ('{"inputs": [[0, 0], [0, 1]]}', "targets"),
    ],
)
def test_data_that_cannot_be_trained_on_change_nothing(api: Api, body: str, field: str) -> None:
    response = api.post(TRAININGS, data=body, content_type="application/json")

    assert_problem(response, 422, "invalid-input", field)
    assert api.get(TRAININGS).get_json()["data"] == []


def test_a_body_of_another_type_is_refused(api: Api) -> None:
    assert_problem(api.post(TRAININGS, data=b"a,b", content_type="text/csv"), 415, "unsupported-media-type")


def test_promoting_at_once_takes_an_admin(api_for: ApiFor) -> None:
    api = api_for(Scope.TRAIN)

    assert_problem(api.post(TRAININGS, json={"promote": True}), 403, "scope-too-small")
    assert api.post(TRAININGS).status_code == 202


def test_reading_does_not_let_one_train(api_for: ApiFor) -> None:
    assert_problem(api_for(Scope.READ).post(TRAININGS), 403, "scope-too-small")


def test_a_queued_training_can_be_cancelled_twice(api: Api) -> None:
    path = api.post(TRAININGS).headers["Location"]

    assert api.post(f"{path}/cancel").get_json()["status"] == "canceled"
    assert api.post(f"{path}/cancel").status_code == 200
    assert api.post(TRAININGS).status_code == 202


def test_a_finished_training_cannot_be_cancelled(api: Api, database: Database, committed: Rows) -> None:
    path, claim = run(api, database, committed)
    with database.begin() as connection:
        ledger.succeed(connection, claim, version_id=1, metrics={})

    assert_problem(api.post(f"{path}/cancel"), 409, "training-state")


def test_progress_and_the_log_are_read_while_it_runs(api: Api, database: Database, committed: Rows) -> None:
    path, claim = run(api, database, committed)
    with database.begin() as connection:
        ledger.report(connection, claim, progress=PROGRESS, log="epoch 1/2\n")

    assert api.get(path).get_json()["progress"] == PROGRESS
    log = api.get(f"{path}/log")
    assert (log.text, log.mimetype) == ("epoch 1/2\n", "text/plain")


def test_events_end_with_the_final_state(api: Api, database: Database, committed: Rows) -> None:
    path, claim = run(api, database, committed)
    with database.begin() as connection:
        ledger.cancel(connection, claim.id)

    events = api.get(f"{path}/events")

    assert events.mimetype == "text/event-stream"
    assert events.text.startswith("event: canceled\ndata: {")


def test_events_end_once_what_was_promoted_answers(api: Api, database: Database, committed: Rows) -> None:
    path, claim = run(api, database, committed)
    made = committed.version.model_version_id
    with database.begin() as connection:
        connection.execute(text("UPDATE trainings SET options = options || jsonb_build_object('promote', true)"))
        ledger.succeed(connection, claim, version_id=made, metrics={})
        connection.execute(text("UPDATE models SET upcoming_id = :made WHERE name = 'xor'"), {"made": made})

    with ThreadPoolExecutor(1) as reader:
        events = reader.submit(api.get, f"{path}/events")
        with pytest.raises(TimeoutError):
            events.result(2.5)
        with database.begin() as connection:
            connection.execute(text("UPDATE models SET upcoming_id = NULL WHERE name = 'xor'"))
        told = events.result(30).text

    assert told.count("event: succeeded") == 1
    assert told.rindex("event: ") == told.index("event: succeeded")


@pytest.mark.parametrize("part", ["", "/log", "/events", "/examples"])
def test_an_unknown_training_is_not_found(api: Api, part: str) -> None:
    assert_problem(api.get(f"/v1/trainings/{uuid7()}{part}"), 404, "unknown-training")


def test_lineage_is_read_from_both_ends(api: Api, api_for: ApiFor, database: Database, committed: Rows) -> None:
    [prediction_id] = correct(database, committed, ["1"])
    path, claim = run(api, database, committed)
    with database.begin() as connection:
        ledger.freeze(connection, claim, manifest_sha256="ab", examples=[(prediction_id, 1)])

    assert api.get(f"{path}/examples").get_json()["data"] == [{"prediction_id": str(prediction_id), "revision": 1}]
    [found] = api.get(f"/v1/trainings?prediction={prediction_id}").get_json()["data"]
    assert (found["id"], found["examples"]) == (str(claim.id), 1)
    stranger = api_for(Scope.READ)
    assert stranger.get(f"{path}/examples").get_json()["data"] == []
    assert stranger.get(f"/v1/trainings?prediction={prediction_id}").get_json()["data"] == []


@pytest.mark.parametrize("cron", ["0 0 31 2 *", "often, please"])
def test_a_cron_line_that_never_fires_changes_nothing(api: Api, cron: str) -> None:
    response = api.call("PUT", "/v1/models/xor", json={"retraining": {"cron": cron}})

    assert_problem(response, 422, "invalid-settings")
    assert api.get("/v1/models/xor").get_json()["settings"]["retraining"] is None


def test_a_model_tells_what_its_next_training_hangs_on(api: Api, database: Database) -> None:
    api.call("PUT", "/v1/models/xor", json={"retraining": {"cron": "0 3 * * mon", "min_feedback": 10}})
    training = api.post(TRAININGS).get_json()

    found = api.get("/v1/models/xor").get_json()["retraining"]

    assert found["next_tick_at"].endswith("03:00:00+00:00")
    assert (found["last_training"]["id"], found["feedback_since"]) == (training["id"], 0)
    api.call("PUT", "/v1/models/xor", json={})
    with autocommit(database) as connection:
        connection.execute(text("DELETE FROM training_schedules"))


def run(api: Api, database: Database, committed: Rows) -> tuple[str, TrainingClaim]:
    """Ask for a training and claim it; returns its path and the claim."""
    path = api.post(TRAININGS).headers["Location"]
    with database.begin() as connection:
        claim = ledger.claim_training(
            connection, worker_id=committed.worker_id, device="cpu:0", only=UUID(path.rpartition("/")[2])
        )
    assert claim is not None
    with open_session(database) as session:
        assert get_training(session, claim.id).status == "processing"
    return path, claim


def correct(database: Database, committed: Rows, labels: list[str]) -> list[UUID]:
    """Store predictions that were answered, with feedback from the desk."""
    ids = []
    for label in labels:
        prediction_id = uuid7()
        committed.add(id=prediction_id)
        ids.append(prediction_id)
        with database.begin() as connection:
            connection.execute(
                text("""
                    INSERT INTO feedback (prediction_id, api_key_id, model_id, model_version_id, label, source, weight,
                        recorded_by, predicted_at)
                    SELECT id, api_key_id, model_id, model_version_id, to_jsonb(CAST(:label AS text)), 'desk', 1,
                        api_key_id, created_at FROM predictions WHERE id = :id
                """),
                {"id": prediction_id, "label": label},
            )
    return ids
