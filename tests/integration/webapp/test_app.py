"""The application as granian starts it: from its environment alone."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest
import structlog
from a2wsgi import ASGIMiddleware
from a2wsgi.asgi_typing import ASGIApp
from sqlalchemy import Engine as Database

from schemas.enums import Scope
from store.settings import MULTIPROCESS_VARIABLE, Settings
from tests.integration.serving import Api, make_key, running_loop
from webapp.app import serve

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication


@pytest.fixture
def served(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator["WSGIApplication"]:
    """A web process of this process; what it sets for itself is undone."""
    monkeypatch.setenv("TORCHQUEUE_DATABASE_URL", settings.database_url)
    monkeypatch.setenv("TORCHQUEUE_REDIS_URL", settings.redis_url)
    monkeypatch.setenv("TORCHQUEUE_OBJECT_URL", settings.object_url)
    lane = serve()
    with running_loop() as loop:
        yield cast("WSGIApplication", ASGIMiddleware(cast("ASGIApp", lane), loop=loop))
    lane.services.listener.stop()
    lane.services.directory.stop()
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def test_a_process_serves_from_its_environment_alone(served: "WSGIApplication", database: Database) -> None:
    assert Api(served, make_key(database, Scope.READ)).get("/v1/models").status_code == 200


def test_metrics_of_all_processes_on_a_machine_are_told_by_any(
    served: "WSGIApplication", monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(MULTIPROCESS_VARIABLE, str(tmp_path))

    assert "torchqueue_predictions_open" in Api(served, None).get("/metrics").text
