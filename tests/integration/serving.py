"""A web process and a worker within the test process: the real parts, on threads of ours."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import redis
from a2wsgi import ASGIMiddleware
from a2wsgi.asgi_typing import ASGIApp
from flask import Flask
from sqlalchemy import Engine as Database
from werkzeug.test import Client, TestResponse

from ml.engine import Engine
from schemas.enums import Scope, WorkerRole
from store.database import create_database, open_session
from store.keys import create_key
from store.objects import ObjectStore
from store.settings import Settings
from tasks.drainer import Drainer
from tasks.following import VersionFollower
from tasks.life import WorkerLife
from tasks.loader import ModelLoader
from tasks.spool import Spool
from tasks.successor import spool_folder
from tests.factories import clean
from webapp.app import create_app
from webapp.fast_lane import FastLane
from webapp.services import Services

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

DEVICE = "cpu:0"
QUEUE = "inference-cpu-0"
LOOPBACK = "127.0.0.1"

# Stands for the doorbell, which needs Celery's own process: the end-to-end tests have that.
LOOK_EVERY_S = 0.005


class BackgroundWorker:
    """Drains as a worker does that is rung all the time, until it is paused or stopped."""

    def __init__(self, drainer: Drainer) -> None:
        self._drainer = drainer
        self._allowed = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="worker")

    def start(self) -> None:
        """Begin to drain."""
        self._thread.start()

    def stop(self) -> None:
        """Finish the running drain."""
        self._stop.set()
        self._thread.join()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Drain nothing while the block runs, as when every worker is away."""
        with self._allowed:
            yield

    def _run(self) -> None:
        while not self._stop.wait(LOOK_EVERY_S):
            with self._allowed:
                self._drainer.drain()


class Api:
    """The API as one key's holder calls it; arguments are Werkzeug's.

    Args:
        app: The application.
        key: Sent with every request; None sends none.
    """

    def __init__(self, app: "WSGIApplication", key: str | None) -> None:
        self._app = app
        self._headers = {} if key is None else {"Authorization": f"Bearer {key}"}

    def call(self, method: str, path: str, **options: Any) -> TestResponse:
        """Send a request. Each has a client of its own, so that threads may share this object."""
        headers = {**self._headers, **options.pop("headers", {})}
        environ = {"REMOTE_ADDR": LOOPBACK, "REMOTE_PORT": "1", **options.pop("environ_base", {})}
        # Buffered, so that the file behind a response is closed before the next warning counts as an error.
        client = Client(self._app)
        return client.open(path, method=method, headers=headers, environ_base=environ, buffered=True, **options)

    def get(self, path: str, **options: Any) -> TestResponse:
        """Send a GET."""
        return self.call("GET", path, **options)

    def post(self, path: str, **options: Any) -> TestResponse:
        """Send a POST."""
        return self.call("POST", path, **options)

    def predict(self, model: str, **options: Any) -> TestResponse:
        """Ask a model."""
        return self.post(f"/v1/models/{model}/predictions", **options)

    def predict_xor(self, **options: Any) -> TestResponse:
        """Ask the smallest model a good question."""
        return self.predict("xor", **{"json": {"input": [0, 1]}} | options)

    def predict_photo(self, data: bytes, content_type: str = "image/png", **options: Any) -> TestResponse:
        """Ask about a picture."""
        return self.predict("fashion", data=data, content_type=content_type, **options)


def make_key(database: Database, *scopes: Scope) -> str:
    """Commit a key with these scopes."""
    with open_session(database) as session:
        return create_key(session, name="tests", scopes=scopes)[1]


@contextmanager
def running_loop() -> Iterator[asyncio.AbstractEventLoop]:
    """Yield an event loop that runs in a thread of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="loop")
    thread.start()
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@contextmanager
def web_process(settings: Settings, **changes: Any) -> Iterator[Flask]:
    """Yield the application of one web process whose threads run."""
    services = Services(replace(settings, **changes)).start()
    try:
        app = create_app(services.settings, services)
        with running_loop() as loop:
            # Every request comes as it does from granian, through the event loop.
            lane = ASGIMiddleware(cast("ASGIApp", FastLane(app, services)), loop=loop)
            app.wsgi_app = lane  # type: ignore[method-assign, assignment]  # As Flask documents it.
            yield app
    finally:
        _end(services)


def _end(services: Services) -> None:
    services.listener.stop()
    services.directory.stop()
    services.pressure.stop()
    services.watch.stop()
    # A process keeps its connections for its life; here all of them would add up to more than the server gives.
    services.dispatcher._connection.close()
    services.database.dispose()
    services.background.dispose()
    services.tenants.dispose()


@contextmanager
def worker_process(settings: Settings, database: Database, objects: ObjectStore) -> Iterator[BackgroundWorker]:
    """Yield a worker of one device that has registered. Its rows and those that it answered are removed at the end."""
    engine = Engine(DEVICE)
    pool = create_database(settings.database_url, application="worker")
    loader = ModelLoader(engine, pool, objects)
    life = WorkerLife(
        pool,
        name="cpu-0@here",
        role=WorkerRole.INFERENCE,
        device=DEVICE,
        queue=QUEUE,
        held=loader.held,
        load_failures=lambda: loader.load_failures,
    )
    follower = VersionFollower(pool, loader, life.tell)
    drainer = Drainer(
        engine=engine,
        loader=loader,
        life=life,
        claims_database=pool,
        results_database=pool,
        objects=objects,
        replies=redis.Redis.from_url(settings.redis_url),
        device=DEVICE,
        queues=[QUEUE],
        spool=Spool(spool_folder(settings.var_dir), "cpu-0"),
    )
    loader.preload_champions()
    life.begin()
    follower.start()
    worker = BackgroundWorker(drainer)
    worker.start()
    yield worker
    worker.stop()
    follower.stop()
    drainer.close()
    life.end()
    engine.close()
    pool.dispose()
    clean(database)
