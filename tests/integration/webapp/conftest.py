"""One web process and one worker that all tests of the API share."""

from collections.abc import Callable, Iterator

import pytest
from flask import Flask
from sqlalchemy import Engine as Database

from schemas.enums import Scope
from store.objects import ObjectStore
from store.settings import Settings
from tests.factories import clean_rows
from tests.integration.serving import Api, BackgroundWorker, make_key, web_process, worker_process

ApiFor = Callable[..., Api]


@pytest.fixture(scope="package")
def app(settings: Settings, database: Database) -> Iterator[Flask]:
    """The application of a web process whose threads run."""
    with web_process(settings) as app:
        yield app


@pytest.fixture(scope="package")
def worker(settings: Settings, database: Database, objects: ObjectStore) -> Iterator[BackgroundWorker]:
    """A worker that answers."""
    with worker_process(settings, database, objects) as worker:
        yield worker


@pytest.fixture(scope="package")
def admin_key(database: Database) -> str:
    return make_key(database, Scope.ADMIN)


@pytest.fixture
def api(app: Flask, worker: BackgroundWorker, admin_key: str) -> Api:
    """The API with a worker behind it, as an admin calls it."""
    return Api(app, admin_key)


@pytest.fixture
def api_for(app: Flask, worker: BackgroundWorker, database: Database) -> ApiFor:
    """Make the API as the holder of a new key with these scopes calls it."""
    return lambda *scopes: Api(app, make_key(database, *scopes))


@pytest.fixture
def no_worker(worker: BackgroundWorker, database: Database) -> Iterator[None]:
    """No worker answers while the test runs; what it left waiting is removed."""
    with worker.paused():
        yield
        clean_rows(database)
