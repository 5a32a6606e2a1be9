"""Inline placement: the web process answers by itself, with the same API and the same rows."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from flask import Flask
from sqlalchemy import Engine as Database

from schemas.enums import Durability, Placement
from schemas.model_settings import ModelSettings
from schemas.predictions import PredictionSchema
from store.database import open_session
from store.ledger_rows import Answer
from store.models import ServedVersion, configure, get_version
from store.settings import Settings
from tests.factories import add_model, clean_models
from tests.integration.serving import Api, web_process
from tests.running import SAMPLES, wait_until
from webapp.services import EXTENSION, MODEL_CACHE_S, ModelCache, Services

PHOTO = (SAMPLES / "sandal-01.png").read_bytes()


def place(database: Database, placement: Placement, durability: Durability = Durability.COMMITTED) -> None:
    """Say where both bundled models run."""
    with open_session(database) as session:
        for name in ("xor", "fashion"):
            configure(session, name=name, settings=ModelSettings(placement=placement, durability=durability))


@pytest.fixture(scope="module")
def inline_app(settings: Settings, database: Database) -> Iterator[Flask]:
    """A web process of the inline role, while both models are placed there."""
    place(database, Placement.INLINE)
    with web_process(settings, inline=True) as app:
        yield app
    place(database, Placement.QUEUE)


@pytest.fixture
def inline(inline_app: Flask, admin_key: str) -> Api:
    """The API of a process that answers by itself; no worker runs."""
    return Api(inline_app, admin_key)


@pytest.fixture
def _relaxed(inline_app: Flask, database: Database) -> Iterator[None]:
    """Answers go out before their rows are committed."""
    models = inline_app.extensions[EXTENSION].models
    place(database, Placement.INLINE, Durability.RELAXED)
    wait_until(lambda: models.resolve("xor", None).settings.durability is Durability.RELAXED, MODEL_CACHE_S * 3)
    yield
    place(database, Placement.INLINE)
    wait_until(lambda: models.resolve("xor", None).settings.durability is Durability.COMMITTED, MODEL_CACHE_S * 3)


def test_an_inline_model_answers_without_a_worker(inline: Api) -> None:
    body = inline.predict_xor().get_json()

    assert PredictionSchema().validate(body) == {}
    assert (body["status"], body["result"]["label"], body["attempt"]) == ("succeeded", "1", 1)


def test_what_is_answered_inline_is_stored(inline: Api) -> None:
    body = inline.predict_xor(query_string={"catalog": "shop", "external_id": "inline"}).get_json()

    assert inline.get(f"/v1/predictions/{body['id']}").get_json() == body


def test_a_photo_is_answered_inline(inline: Api) -> None:
    assert inline.predict_photo(PHOTO).get_json()["result"]["label"] == "Sandal"


def test_a_bad_input_is_refused_inline_as_by_a_worker(inline: Api) -> None:
    data = PHOTO.index(b"IDAT") + 4

    response = inline.predict_photo(PHOTO[:data] + bytes(20) + PHOTO[data + 20 :])

    assert (response.status_code, response.get_json()["type"]) == (422, "invalid-input")
    row = inline.get(f"/v1/predictions/{response.get_json()['prediction']}").get_json()
    assert (row["status"], row["error"]["code"]) == ("failed", "invalid_input")


def test_requests_that_come_together_are_all_answered(inline: Api) -> None:
    with ThreadPoolExecutor(16) as pool:
        bodies = list(pool.map(lambda _: inline.predict_xor().get_json(), range(200)))

    assert {body["result"]["label"] for body in bodies} == {"1"}
    stored = [inline.get(f"/v1/predictions/{body['id']}").get_json() for body in bodies]
    assert stored == bodies


def test_an_idempotency_key_is_kept_inline(inline: Api) -> None:
    first, second = (inline.predict_xor(headers={"Idempotency-Key": "inline"}) for _ in range(2))

    assert first.get_json() == second.get_json()
    assert second.headers["Idempotent-Replayed"] == "true"


@pytest.mark.usefixtures("_relaxed")
def test_a_relaxed_answer_is_stored_soon_after(inline: Api) -> None:
    body = inline.predict_xor().get_json()

    wait_until(lambda: inline.get(f"/v1/predictions/{body['id']}").status_code == 200)
    assert inline.get(f"/v1/predictions/{body['id']}").get_json()["result"] == body["result"]


def test_an_inline_model_follows_a_promotion_without_a_worker(
    inline_app: Flask, inline: Api, database: Database
) -> None:
    with open_session(database) as session:
        first = get_version(session, "xor", 1)
        swapped = {**first.config, "labels": first.config["labels"][::-1]}
        second = add_model(
            session, "xor", config=swapped, weights_sha256=first.weights_sha256, number=2, kind="classification"
        )
    bodies = [inline.predict_xor().get_json()]

    while bodies[-1]["version"] == 1:
        bodies.append(inline.predict_xor().get_json())

    assert second.number == 2
    assert {(body["status"], body["version"], body["result"]["label"]) for body in bodies} == {
        ("succeeded", 1, "1"),
        ("succeeded", 2, "0"),
    }
    clean_models(database)
    services: Services = inline_app.extensions[EXTENSION]
    assert services.inline is not None
    services.models = ModelCache(services.database, services.inline.is_ready)


class BrokenRunner:
    """Serves everything and computes nothing."""

    def serves(self, version: ServedVersion) -> bool:  # noqa: ARG002 - the interface
        """Say yes."""
        return True

    def run(self, version: ServedVersion, tickets: object) -> list[Answer]:  # noqa: ARG002 - the interface
        """Fail."""
        raise RuntimeError("a fault of ours")


def test_what_cannot_be_computed_inline_is_queued(
    inline_app: Flask, inline: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    services: Services = inline_app.extensions[EXTENSION]
    assert services.inline is not None
    monkeypatch.setattr(services.inline, "_runner", BrokenRunner())

    response = inline.predict_xor(headers={"Prefer": "wait=1"})

    assert (response.status_code, response.get_json()["status"]) == (202, "queued")
