"""What beat, Flower and Celery's workers are started with."""

import os
from collections.abc import Callable, Iterator

import pytest
import structlog
from celery import Celery
from celery.signals import worker_ready, worker_shutting_down

from store.errors import SettingsError
from tasks import beat, flower
from tasks.celery_process import node_name, run_worker

PASSWORD = "admin:correct-horse"


class Started:
    """Notes what Celery was started with, and plays a worker's life."""

    def __init__(self) -> None:
        self.arguments: list[str] = []

    def __call__(self, _app: Celery, arguments: list[str]) -> None:
        self.arguments = arguments
        worker_ready.send(sender=None)
        worker_shutting_down.send(sender=None)


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The variables of a process; what it configures for itself is undone."""
    monkeypatch.setenv("TORCHQUEUE_DATABASE_URL", "postgresql+psycopg2://nowhere/none")
    monkeypatch.setenv("TORCHQUEUE_REDIS_URL", "redis://nowhere")
    monkeypatch.setenv("TORCHQUEUE_FLOWER_AUTH", PASSWORD)
    monkeypatch.setattr(os, "environ", os.environ.copy())
    receivers = [(signal, list(signal.receivers)) for signal in (worker_ready, worker_shutting_down)]
    yield
    for signal, before in receivers:
        signal.receivers = before
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Started:
    """Celery's own loops, which a test cannot run."""
    started = Started()
    for name in ("start", "worker_main"):
        # A function, so that it becomes a method.
        monkeypatch.setattr(Celery, name, lambda app, arguments: started(app, arguments))  # noqa: PLW0108
    return started


def test_any_number_of_beats_may_run_in_one_folder(started: Started) -> None:
    beat.main()

    assert {"beat", "--pidfile="} <= set(started.arguments)


def test_the_password_of_flower_is_not_on_its_command_line(started: Started) -> None:
    flower.main()

    assert started.arguments[0] == "flower"
    assert not any(PASSWORD in argument for argument in started.arguments)
    assert os.environ["FLOWER_BASIC_AUTH"] == PASSWORD


@pytest.mark.parametrize("auth", ["", "password-alone"])
def test_without_a_password_flower_does_not_start(started: Started, auth: str) -> None:
    os.environ["TORCHQUEUE_FLOWER_AUTH"] = auth

    with pytest.raises(SettingsError, match="TORCHQUEUE_FLOWER_AUTH"):
        flower.main()

    assert started.arguments == []


def test_a_worker_is_told_when_it_is_ready_and_when_it_stops(run: Callable[..., list[str]]) -> None:
    assert run() == ["ready", "stopping"]


def test_a_worker_consumes_its_queues_under_its_name(run: Callable[..., list[str]], started: Started) -> None:
    app = Celery("tests")

    run(app)

    assert [queue.name for queue in app.conf.task_queues] == ["one", "two"]
    assert f"--hostname={node_name('cpu-0')}" in started.arguments


def test_cuda_is_never_forked(run: Callable[..., list[str]], started: Started) -> None:
    run()

    assert "--pool=threads" in started.arguments


@pytest.fixture
def run(started: Started) -> Callable[..., list[str]]:  # noqa: ARG001 - takes the place of Celery's loop
    """Run a worker; returns what it was told."""

    def run_and_tell(app: Celery | None = None) -> list[str]:
        told: list[str] = []
        run_worker(
            app or Celery("tests"),
            node=node_name("cpu-0"),
            queues=["one", "two"],
            acknowledges=True,
            pool="threads",
            concurrency=1,
            on_ready=lambda: told.append("ready"),
            on_stopping=lambda: told.append("stopping"),
        )
        return told

    return run_and_tell
