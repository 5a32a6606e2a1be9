"""`stack.plan`: which processes a stack consists of."""

import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from unittest.mock import create_autospec

import pytest
from sqlalchemy import Engine

from ml.layouts import Layout
from stack.embedded import EmbeddedServer, free_port
from stack.plan import (
    MEASURE_VARIABLE,
    THREADS_VARIABLE,
    Plan,
    application_services,
    choose_devices,
    server_service,
    web_command,
)
from stack.plan import _answers as answers
from stack.service import Service, Stage
from store.settings import Settings

CUDA = ["cuda:0", "cuda:1"]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(database_url="", redis_url="", object_url="", var_dir=tmp_path, web_threads=7, flower_port=5)


@pytest.mark.parametrize(
    ("devices", "workers", "chosen"),
    [
        (["cpu:0"], None, ["cpu:0"]),
        (["cpu:0"], 1, ["cpu:0"]),
        (["cpu:0"], 3, ["cpu:0", "cpu:1", "cpu:2"]),
        (CUDA, None, CUDA),
        (CUDA, 1, ["cuda:0"]),
        (CUDA, 2, CUDA),
    ],
)
def test_each_inference_worker_has_a_device(devices: list[str], workers: int | None, chosen: list[str]) -> None:
    assert choose_devices(devices, workers) == chosen


def test_without_a_number_as_many_cpu_workers_start_as_were_measured(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = Layout(processes=3, threads=2)
    services = _services(settings, monkeypatch, layout=measured)

    workers = [service for service in services if service.name.startswith("cpu-")]
    assert [worker.name for worker in workers] == ["cpu-0", "cpu-1", "cpu-2"]
    assert {worker.env[THREADS_VARIABLE] for worker in workers} == {"2"}


def test_the_first_worker_alone_measures_the_layout(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    services = _services(settings, monkeypatch, layout=Layout(processes=2, threads=1), measures_layout=True)

    assert {service.name: service.env.get(MEASURE_VARIABLE) for service in services if "cpu-" in service.name} == {
        "cpu-0": "1",
        "cpu-1": None,
    }


def test_a_gpu_has_one_worker_whatever_was_measured_of_the_cpu() -> None:
    assert choose_devices(CUDA, None, Layout(processes=5, threads=1)) == CUDA


def test_a_stack_is_made_of_these_processes(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [service.name for service in _services(settings, monkeypatch, workers=2)]

    assert names == ["web", "cpu-0", "cpu-1", "training", "maintenance", "delivery", "fetch", "beat", "flower"]


def test_workers_that_claim_rows_hold_claims(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    services = _services(settings, monkeypatch, workers=2)

    assert [service.name for service in services if service.holds_claims] == [
        "cpu-0",
        "cpu-1",
        "training",
        "delivery",
        "fetch",
    ]


def test_a_worker_is_told_its_role_and_device(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = _services(settings, monkeypatch)[1]

    assert worker.argv == [sys.executable, "-m", "tasks.worker", "inference", "--device=cpu:0"]


def test_every_process_gets_the_variables(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    assert {service.env["NAME"] for service in _services(settings, monkeypatch)} == {"value"}


def test_web_is_stopped_before_the_workers_and_they_before_the_servers() -> None:
    assert Stage.SERVERS < Stage.WORKERS < Stage.WEB


def test_web_serves_as_configured() -> None:
    command = web_command(host="0.0.0.0", port=80, processes=3, grace_s=2.5)  # noqa: S104 - only compared

    assert {"webapp.server", "--host=0.0.0.0", "--port=80", "--processes=3", "--grace=2.5"} <= set(command)


def test_a_plan_tells_where_things_are(settings: Settings) -> None:
    plan = Plan(settings=settings, host="127.0.0.1", port=80)

    assert (plan.url, plan.flower_url) == ("http://127.0.0.1:80", "http://127.0.0.1:5")


def test_an_embedded_server_is_supervised_as_it_says() -> None:
    server = EmbeddedServer(name="valkey", argv=["valkey"], url="redis://", is_ready=lambda: True, user="nobody")

    service = server_service(server)

    assert (service.name, service.argv, service.stage, service.user) == ("valkey", ["valkey"], Stage.SERVERS, "nobody")
    assert service.is_ready(1)


class Teapot(BaseHTTPRequestHandler):
    """Answers 418 to everything."""

    def do_GET(self) -> None:
        self.send_response(418)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def teapot() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Teapot) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(("status", "expected"), [(None, True), (418, True), (200, False)])
def test_a_server_that_answers_is_up_when_it_answers_as_it_should(
    teapot: str, status: int | None, expected: bool
) -> None:
    assert answers(teapot, status) is expected


def test_a_server_that_does_not_answer_is_not_up() -> None:
    assert not answers(f"http://127.0.0.1:{free_port()}")


def _services(settings: Settings, monkeypatch: pytest.MonkeyPatch, **chosen: Any) -> list[Service]:
    """Plan a stack on a machine without GPU."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    plan = Plan(settings=settings, host="127.0.0.1", port=80, **chosen)
    database = create_autospec(Engine, instance=True, spec_set=True)
    return application_services(plan, database, {"NAME": "value"})
