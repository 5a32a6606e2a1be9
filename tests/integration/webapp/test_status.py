"""Models, live figures, probes, metrics and documents."""

import re

import pytest
from flask import Flask

from schemas.status import ReadySchema
from store.settings import Settings
from tests.integration.serving import Api, web_process
from tests.integration.webapp.problems import assert_problem

ELSEWHERE = {"REMOTE_ADDR": "192.0.2.1"}

PATHS = ["/v1/models", "/health/live", "/docs/", "/openapi.json", "/nowhere"]


def test_models_are_listed_by_name(api: Api) -> None:
    assert [model["name"] for model in api.get("/v1/models").get_json()["data"]] == [
        "fashion",
        "fashion-similar",
        "xor",
    ]


def test_a_model_tells_its_champion_and_what_it_takes(api: Api) -> None:
    body = api.get("/v1/models/xor").get_json()

    assert (body["kind"], body["champion"], body["input"]) == ("classification", 1, {"type": "vector", "size": 2})


def test_a_models_versions_are_listed(api: Api) -> None:
    [version] = api.get("/v1/models/xor/versions").get_json()["data"]

    assert (version["model"], version["version"], version["source"]) == ("xor", 1, "bundled")


def test_a_version_tells_its_weights_and_figures(api: Api) -> None:
    body = api.get("/v1/models/fashion/versions/1").get_json()

    assert len(body["weights_sha256"]) == 64
    assert body["weights_bytes"] > 0
    assert body["metrics"]


@pytest.mark.parametrize("path", ["/v1/models/nope", "/v1/models/nope/versions", "/v1/models/nope/versions/1"])
def test_an_unknown_model_is_unknown(api: Api, path: str) -> None:
    assert_problem(api.get(path), 404, "unknown-model")


def test_an_unknown_version_is_unknown(api: Api) -> None:
    assert_problem(api.get("/v1/models/xor/versions/99"), 404, "unknown-version")


def test_statistics_count_what_finished(api: Api) -> None:
    api.predict_xor()

    body = api.get("/v1/stats").get_json()

    [xor] = [each for each in body["models"] if each["model"] == "xor"]
    assert body["window_s"] == 60
    assert xor["succeeded"] >= 1
    assert xor["total_p50_ms"] > 0


@pytest.mark.usefixtures("no_worker")
def test_queues_count_what_waits(api: Api) -> None:
    api.predict_xor(headers={"Prefer": "wait=0"}, query_string={"priority": "bulk"})

    [queue] = api.get("/v1/queues").get_json()["data"]

    assert (queue["model"], queue["priority"], queue["queued"], queue["processing"]) == ("xor", "bulk", 1, 0)


def test_workers_tell_their_device_and_models(api: Api) -> None:
    [worker] = api.get("/v1/workers").get_json()["data"]

    assert (worker["device"], worker["queue"]) == ("cpu:0", "inference-cpu-0")
    assert worker["models"] == ["fashion/1", "fashion-similar/1", "xor/1"]


def test_a_process_that_answers_is_live(anonymous: Api) -> None:
    assert anonymous.get("/health/live").get_json() == {"status": "live"}


@pytest.mark.usefixtures("api")
def test_a_process_that_would_accept_is_ready(anonymous: Api) -> None:
    body = anonymous.get("/health/ready").get_json()

    assert ReadySchema().validate(body) == {}
    assert body["checks"] == {"postgres": "ok", "valkey": "ok", "workers": 1}


def test_metrics_count_requests(api: Api, anonymous: Api) -> None:
    api.predict_xor()

    metrics = anonymous.get("/metrics").text

    counted = re.search(r'_count\{endpoint="predictions.PredictionCreateViews",status="200"\} (\S+)', metrics)
    assert counted is not None
    assert float(counted[1]) >= 1


@pytest.mark.usefixtures("no_worker")
def test_metrics_tell_what_waits(api: Api, anonymous: Api) -> None:
    api.predict_xor(headers={"Prefer": "wait=0"})

    labels = 'model="xor",priority="normal",state="queued",version="1"'
    assert f"torchqueue_predictions_open{{{labels}}} 1.0" in anonymous.get("/metrics").text


def test_metrics_are_text_that_prometheus_reads(anonymous: Api) -> None:
    assert anonymous.get("/metrics").content_type.startswith("text/plain; version=")


def test_metrics_are_closed_to_other_machines(anonymous: Api) -> None:
    assert_problem(anonymous.get("/metrics", environ_base=ELSEWHERE), 403, "loopback-only")


def test_metrics_can_be_opened_to_other_machines(settings: Settings) -> None:
    with web_process(settings, metrics_public=True) as app:
        assert Api(app, None).get("/metrics", environ_base=ELSEWHERE).status_code == 200


def test_the_docs_page_loads_nothing_from_another_host(anonymous: Api) -> None:
    page = anonymous.get("/docs/").text

    sources = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert {source.rpartition("/")[0] for source in sources} == {"/docs"}
    assert {anonymous.get(source).status_code for source in sources} == {200}


def test_the_docs_page_shows_our_document(anonymous: Api) -> None:
    assert '"/openapi.json"' in anonymous.get("/docs/start.js").text


def test_the_document_is_open(anonymous: Api) -> None:
    assert anonymous.get("/openapi.json").get_json()["openapi"] == "3.1.0"


@pytest.mark.parametrize("path", PATHS)
def test_every_response_carries_the_security_headers(anonymous: Api, path: str) -> None:
    headers = anonymous.get(path).headers

    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Content-Security-Policy"].startswith("default-src 'self'")


@pytest.fixture
def anonymous(app: Flask) -> Api:
    """The API without a key."""
    return Api(app, None)
