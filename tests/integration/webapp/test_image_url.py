"""`image_url`: accepted like any other input, checked as far as can be, and answered when its picture is there."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import replace

import pytest
import redis
from flask import Flask
from sqlalchemy import Engine as Database
from werkzeug.test import TestResponse

from schemas.enums import WorkerRole
from schemas.names import QueueName
from store.objects import ObjectStore
from store.outward import OutwardClient
from store.settings import Settings
from tasks.doorbell import Doorbell
from tasks.fetching import Fetcher
from tests.integration.serving import Api, BackgroundWorker, web_process
from tests.integration.tasks.conftest import make_life
from tests.integration.webapp.problems import assert_problem
from tests.outside import Outside, reply, running_outside
from tests.running import SAMPLES

InThread = Callable[[Callable[[], TestResponse]], "Future[TestResponse]"]

PHOTO = (SAMPLES / "sandal-01.png").read_bytes()
LONG = {"Prefer": "wait=30"}


@pytest.fixture(scope="module")
def outside() -> Iterator[Outside]:
    with running_outside() as outside:
        yield outside


@pytest.fixture(scope="module")
def app(settings: Settings, database: Database, outside: Outside) -> Iterator[Flask]:  # noqa: ARG001 - migrated by it
    """A web process that lets clients name the stranger's server of the test."""
    with web_process(replace(settings, outward=outside.rules)) as app:
        yield app


@pytest.fixture(scope="module")
def fetcher(
    settings: Settings, database: Database, objects: ObjectStore, outside: Outside, worker: BackgroundWorker
) -> Iterator[Fetcher]:
    """A process that fetches."""
    assert worker, "its end removes what tests committed"
    life = make_life(database, role=WorkerRole.FETCH, queue=QueueName.FETCH, name="fetch@here")
    life.begin()
    fetcher = Fetcher(
        client=OutwardClient(outside.rules),
        database=database,
        objects=objects,
        life=life,
        replies=redis.Redis.from_url(settings.redis_url),
        doorbell=Doorbell(settings.redis_url),
        max_bytes=settings.max_body_bytes,
        max_pixels=settings.max_pixels,
    )
    fetcher.start()
    yield fetcher
    fetcher.close()
    life.end()


@pytest.mark.usefixtures("fetcher")
def test_a_picture_is_fetched_and_answered(api: Api, outside: Outside) -> None:
    found = api.predict("fashion", json={"image_url": outside.serve("/a.png", PHOTO)}, headers=LONG)

    assert found.status_code == 200
    assert found.get_json()["result"]["label"] == "Sandal"


@pytest.mark.usefixtures("fetcher")
def test_a_picture_that_cannot_be_had_fails_its_prediction(api: Api, outside: Outside) -> None:
    url = outside.answer("/gone.png", lambda handler: reply(handler, 410))

    found = api.predict("fashion", json={"image_url": url}, headers=LONG).get_json()
    assert (found["status"], found["error"]["code"]) == ("failed", "fetch_failed")
    assert found["error"]["message" if "message" in found["error"] else "detail"] == "image_url answers 410"


@pytest.mark.usefixtures("fetcher")
def test_an_item_is_put_by_its_url(api: Api, outside: Outside) -> None:
    url = outside.serve("/item.png", PHOTO)

    found = api.call("PUT", "/v1/models/fashion-similar/items/shop/7", json={"image_url": url}, headers=LONG)
    assert (found.status_code, found.get_json()["status"]) == (200, "succeeded")
    assert api.get("/v1/models/fashion-similar/items/shop/7/photo").get_data() == PHOTO


def test_it_is_accepted_before_it_is_fetched(api: Api, outside: Outside) -> None:
    before = len(outside.seen)

    found = api.predict("fashion", json={"image_url": outside.url("/later.png")}, headers={"Prefer": "respond-async"})
    assert found.status_code == 202
    assert len(outside.seen) == before


REFUSED = {
    "no string": 7,
    "no URL": "hello",
    "another scheme": "file:///etc/passwd",
    "a password": "http://user:word@shop.example/a.jpg",
    "another port": "http://shop.example:6379/",
    "an address in another form": "http://2130706433/",
    "too long a URL": f"http://shop.example/{'a' * 3000}",
}


@pytest.mark.parametrize("url", REFUSED.values(), ids=REFUSED)
def test_a_url_that_is_never_asked_is_refused_at_once(api: Api, url: object) -> None:
    assert_problem(api.predict("fashion", json={"image_url": url}), 422, "invalid-input", "image_url")


def test_a_model_that_takes_numbers_takes_no_url(api: Api) -> None:
    response = api.predict("xor", json={"image_url": "http://shop.example/a.jpg"})

    assert_problem(response, 422, "invalid-input", "image_url")


def test_a_url_beside_an_input_is_refused(api: Api) -> None:
    response = api.predict("fashion", json={"input": "AAAA", "image_url": "http://shop.example/a.jpg"})

    assert_problem(response, 422, "invalid-input", "image_url")


def test_a_repeat_is_known_by_its_url(api: Api, outside: Outside) -> None:
    def ask(path: str) -> TestResponse:
        headers = {"Prefer": "respond-async", "Idempotency-Key": "by-url"}
        return api.predict("fashion", json={"image_url": outside.url(path)}, headers=headers)

    first = ask("/same.png")
    assert ask("/same.png").get_json()["id"] == first.get_json()["id"]
    assert_problem(ask("/other.png"), 409, "idempotency-key-reused")
