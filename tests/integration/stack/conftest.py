"""The command line beside real servers, and beside an API that listens on a real port."""

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from threading import Thread

import pytest
import structlog
from click.testing import CliRunner, Result
from sqlalchemy import Engine as Database
from werkzeug.serving import make_server

from schemas.enums import Scope
from stack.cli import main
from stack.state import ProcessState, StackState
from store.objects import ObjectStore
from store.settings import Settings
from tests.integration.serving import make_key, web_process, worker_process

Torchqueue = Callable[..., Result]


@pytest.fixture
def torchqueue(settings: Settings, database: Database, tmp_path: Path) -> Iterator[Torchqueue]:  # noqa: ARG001 - migrated by it
    """Run a command as beside a stack: its words, and variables that are other than usual."""
    variables: dict[str, str | None] = {
        "TORCHQUEUE_DATABASE_URL": settings.database_url,
        "TORCHQUEUE_REDIS_URL": settings.redis_url,
        "TORCHQUEUE_OBJECT_URL": settings.object_url,
        "TORCHQUEUE_VAR": str(tmp_path),
    }

    def run(*words: str, env: Mapping[str, str | None] | None = None) -> Result:
        return CliRunner(env=variables | dict(env or {})).invoke(main, words)

    yield run
    structlog.reset_defaults()


@pytest.fixture(scope="module")
def served(settings: Settings, database: Database, objects: ObjectStore) -> Iterator[str]:
    """The URL of an API with a worker behind it."""
    with worker_process(settings, database, objects), web_process(settings) as app:
        server = make_server("127.0.0.1", 0, app, threaded=True)
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def running(served: str, database: Database, tmp_path: Path) -> Path:
    """The folder of a stack whose API answers."""
    process = ProcessState(name="web", state="ready", pid=1, created_at=1.0, restarts=0, url=served, log="web.log")
    StackState(pid=1, url=served, ready=True, processes=[process]).write(tmp_path)
    (tmp_path / "admin.key").write_text(make_key(database, Scope.ADMIN) + "\n")
    return tmp_path


def assert_refused(result: Result, line: str) -> None:
    """Check for one line on standard error and a failure."""
    assert (result.exit_code, result.stdout) == (1, "")
    assert re.fullmatch(f"Error: {line}\n", result.stderr), result.stderr
