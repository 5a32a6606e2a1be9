"""One web process and one worker that all tests of a file share; they would take the rows of other files' tests."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
from flask import Flask
from sqlalchemy import Engine as Database
from werkzeug.test import TestResponse

from schemas.enums import Scope
from store.objects import ObjectStore
from store.settings import Settings
from tests.factories import clean_rows
from tests.integration.serving import Api, BackgroundWorker, make_key, web_process, worker_process

LONG = {"Prefer": "wait=30"}
NO_WAIT = {"Prefer": "wait=0"}

# Long enough on a busy machine; nothing of ours should take a tenth of it.

ApiFor = Callable[..., Api]
InThread = Callable[[Callable[[], TestResponse]], "Future[TestResponse]"]


@pytest.fixture(scope="module")
def app(settings: Settings, database: Database) -> Iterator[Flask]:  # noqa: ARG001 - migrated by it
    """The application of a web process whose threads run."""
    with web_process(settings) as app:
        yield app


@pytest.fixture(scope="module")
def worker(settings: Settings, database: Database, objects: ObjectStore) -> Iterator[BackgroundWorker]:
    """A worker that answers."""
    with worker_process(settings, database, objects) as worker:
        yield worker


@pytest.fixture(scope="module")
def admin_key(database: Database) -> str:
    return make_key(database, Scope.ADMIN)


@pytest.fixture
def api(app: Flask, worker: BackgroundWorker, admin_key: str) -> Api:  # noqa: ARG001 - answers
    """The API with a worker behind it, as an admin calls it."""
    return Api(app, admin_key)


@pytest.fixture
def api_for(app: Flask, worker: BackgroundWorker, database: Database) -> ApiFor:  # noqa: ARG001 - answers
    """Make the API as the holder of a new key with these scopes calls it."""
    return lambda *scopes: Api(app, make_key(database, *scopes))


@pytest.fixture
def no_worker(worker: BackgroundWorker, database: Database) -> Iterator[None]:
    """No worker answers while the test runs, which finds no rows of others and leaves none of its own."""
    with worker.paused():
        clean_rows(database)
        yield
        clean_rows(database)


@pytest.fixture
def in_thread() -> Iterator[InThread]:
    """Send a request from another thread."""
    with ThreadPoolExecutor(4) as pool:
        yield pool.submit
