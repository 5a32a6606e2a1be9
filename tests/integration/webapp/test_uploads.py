"""Uploads of versions over HTTP: what is registered, and that nothing is left of what is refused."""

import io
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import Engine as Database
from werkzeug.test import TestResponse

from ml.bundles import BUNDLED_DIRECTORY, read_bundle
from schemas.enums import Scope
from schemas.models import ModelVersionSchema
from store.settings import Settings
from tests.factories import break_store, clean_models
from tests.integration.serving import Api, make_key, web_process
from tests.integration.webapp.problems import assert_problem
from webapp import uploads

XOR = read_bundle(BUNDLED_DIRECTORY / "xor")
CONFIG = {key: value for key, value in XOR.config.items() if key not in ("name", "sha256", "metrics", "description")}

PATH = "/v1/models/xor/versions"


@pytest.fixture
def upload_api(app: Flask, admin_key: str, database: Database) -> Iterator[Api]:
    """The API as an admin calls it, without a worker."""
    yield Api(app, admin_key)
    clean_models(database)


@pytest.fixture
def verdict(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A module in place of the process that tries models; what the test writes there decides."""
    module = tmp_path / "stand_in.py"
    monkeypatch.setattr("webapp.uploads.CHECKER_MODULE", "stand_in")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{':'.join(sys.path)}")
    return module


def test_an_uploaded_version_is_registered_as_the_champion_is_configured(upload_api: Api) -> None:
    response = upload(upload_api, XOR.weights, {"reason": "trained elsewhere"})

    body = response.get_json()
    assert (response.status_code, response.headers["Location"]) == (201, f"{PATH}/2")
    assert ModelVersionSchema().validate(body) == {}
    assert (body["version"], body["source"], body["parent"], body["aliases"]) == (2, "uploaded", 1, [])
    assert body["weights_sha256"] == upload_api.get(f"{PATH}/1").get_json()["weights_sha256"]
    [decision] = upload_api.get("/v1/models/xor/decisions", query_string={"limit": 1}).get_json()["data"]
    assert (decision["action"], decision["version"], decision["reason"]) == ("upload", 2, "trained elsewhere")


def test_a_version_that_was_uploaded_does_not_answer_before_it_is_promoted(upload_api: Api, verdict: Path) -> None:
    accept(verdict, CONFIG)

    upload(upload_api, b"weights")

    assert upload_api.get("/v1/models/xor").get_json()["champion"] == 1


def test_a_configuration_that_comes_along_is_taken_whole(upload_api: Api, verdict: Path) -> None:
    accept_what_comes(verdict)
    config = {**CONFIG, "labels": ["no", "yes"]}

    body = upload(upload_api, b"weights", {"config": json.dumps(config)}).get_json()

    assert (body["config"]["labels"], body["parent"]) == (["no", "yes"], None)


def test_weights_of_another_architecture_are_refused_and_nothing_is_kept(upload_api: Api) -> None:
    response = upload(upload_api, read_bundle(BUNDLED_DIRECTORY / "fashion").weights[:5000] + b"different")

    assert_problem(response, 422, "invalid-input", "weights")
    assert_unchanged(upload_api)


def test_what_the_check_finds_is_told_with_its_field(upload_api: Api, verdict: Path) -> None:
    verdict.write_text('print(\'noise\'); print(\'{"field": "config.labels", "detail": "must be a list."}\')')

    response = upload(upload_api, b"weights")

    assert_problem(response, 422, "invalid-input", "config.labels")
    assert_unchanged(upload_api)


def test_a_file_that_kills_the_process_that_tries_it_harms_nobody_else(upload_api: Api, verdict: Path) -> None:
    verdict.write_text("import os; os.abort()")

    assert_problem(upload(upload_api, b"weights"), 422, "invalid-input", "weights")
    assert_unchanged(upload_api)


def test_a_model_that_never_answers_is_given_up(
    upload_api: Api, verdict: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("webapp.uploads.CHECK_TIMEOUT_S", 0.2)
    verdict.write_text("import time; time.sleep(60)")

    assert_problem(upload(upload_api, b"weights"), 422, "invalid-input", "weights")


def test_an_upload_beside_another_is_told_to_come_back(
    upload_api: Api, verdict: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("webapp.uploads.TURN_TIMEOUT_S", 0.0)
    accept(verdict, CONFIG)
    with uploads._turn:
        assert_problem(upload(upload_api, b"weights"), 503, "not-ready")


@pytest.mark.parametrize("fields", [{}, {"weights": b""}])
def test_a_form_without_weights_is_refused(upload_api: Api, fields: Mapping[str, bytes]) -> None:
    data = {name: (io.BytesIO(content), name) for name, content in fields.items()} | {"reason": "none"}

    response = upload_api.post(PATH, data=data, content_type="multipart/form-data")

    assert_problem(response, 400, "malformed-body")


def test_weights_without_a_form_are_refused(upload_api: Api) -> None:
    response = upload_api.post(PATH, data=XOR.weights, content_type="application/octet-stream")

    assert_problem(response, 415, "unsupported-media-type")


@pytest.mark.parametrize("config", ["{", "[]", "null", "7"])
def test_a_configuration_that_is_no_object_is_refused(upload_api: Api, config: str) -> None:
    assert_problem(upload(upload_api, b"weights", {"config": config}), 400, "malformed-body")


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"reason": " "}, "reason"),
        ({"reason": "x" * 1001}, "reason"),
        ({"config": json.dumps({"name": "fashion"})}, "config.name"),
        ({"config": json.dumps({"labels": ["a\0b"]})}, "config"),
    ],
)
def test_a_field_that_cannot_be_kept_is_named(upload_api: Api, fields: dict[str, str], field: str) -> None:
    assert_problem(upload(upload_api, b"weights", fields), 422, "invalid-input", field)
    assert_unchanged(upload_api)


def test_a_version_of_another_kind_is_refused(upload_api: Api) -> None:
    response = upload(upload_api, b"weights", {"config": json.dumps({"kind": "regression"})})

    assert_problem(response, 409, "kind-mismatch")


def test_a_version_of_an_unknown_model_is_refused(upload_api: Api) -> None:
    response = upload_api.post(
        "/v1/models/nope/versions", data={"weights": (io.BytesIO(b"w"), "w")}, content_type="multipart/form-data"
    )

    assert_problem(response, 404, "unknown-model")


def test_only_an_admin_uploads(app: Flask, database: Database) -> None:
    api = Api(app, make_key(database, Scope.TRAIN, Scope.READ))

    assert_problem(upload(api, XOR.weights), 403, "scope-too-small")


def test_an_upload_beyond_its_own_limit_is_refused(settings: Settings, admin_key: str) -> None:
    with web_process(settings, max_upload_bytes=1000) as small:
        assert_problem(upload(Api(small, admin_key), bytes(2000)), 413, "too-large")


def test_an_upload_may_be_larger_than_a_prediction(
    settings: Settings, database: Database, admin_key: str, verdict: Path
) -> None:
    accept(verdict, CONFIG)
    with web_process(settings, max_body_bytes=1000) as app:
        assert upload(Api(app, admin_key), bytes(2000)).status_code == 201
    clean_models(database)


def test_an_object_store_that_is_away_registers_nothing(
    settings: Settings, admin_key: str, verdict: Path, tmp_path: Path
) -> None:
    accept(verdict, CONFIG)
    folder = tmp_path / "objects"
    with web_process(settings, object_url=f"file://{folder}") as app:
        break_store(folder)

        assert_problem(upload(Api(app, admin_key), b"weights"), 503, "objects-unavailable")
        assert_unchanged(Api(app, admin_key))


def upload(api: Api, weights: bytes, fields: Mapping[str, str] | None = None) -> TestResponse:
    """Send a form with weights and what else it has."""
    data: dict[str, Any] = {"weights": (io.BytesIO(weights), "weights.safetensors"), **(fields or {})}
    return api.post(PATH, data=data, content_type="multipart/form-data")


def accept(module: Path, config: Mapping[str, Any]) -> None:
    """Let the process that tries models find nothing wrong."""
    found = json.dumps({"config": dict(config), "metrics": {}})
    module.write_text(f"import sys; sys.stdin.buffer.read(); print({found!r})")


def accept_what_comes(module: Path) -> None:
    """The same, with the configuration that it was given."""
    module.write_text(
        "import json, sys\n"
        "config = json.loads(sys.stdin.buffer.readline()); sys.stdin.buffer.read()\n"
        "print(json.dumps({'config': config, 'metrics': {}}))"
    )


def assert_unchanged(api: Api) -> None:
    """Check that there is one version, and no decision about another."""
    assert [version["version"] for version in api.get(PATH).get_json()["data"]] == [1]
    decisions = api.get("/v1/models/xor/decisions").get_json()["data"]
    assert [decision["action"] for decision in decisions] == ["promote"]
