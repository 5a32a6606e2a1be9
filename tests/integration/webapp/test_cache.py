"""The result cache: one computation for one input, and a row for every request."""

import time
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import Engine as Database

from schemas.enums import Scope
from schemas.model_settings import MEBIBYTE, CacheSettings, ModelSettings
from store.database import open_session
from store.ledger_rows import Answer
from store.models import ServedVersion, configure, register_version
from store.promotion import promote
from tests.factories import VECTOR_CONFIG, clean, submission
from tests.integration.serving import Api, BackgroundWorker, make_key
from tests.integration.webapp.conftest import InThread
from tests.running import PATIENCE_S, wait_until
from webapp.cache import ResultCache
from webapp.services import EXTENSION, Services
from webapp.tickets import Ticket


@pytest.fixture(autouse=True)
def remembering(app: Flask, database: Database) -> Iterator[None]:
    """Xor remembers its answers; the memory is empty."""
    set_cache(app, database, CacheSettings(ttl_s=60, max_bytes=MEBIBYTE))
    app.extensions[EXTENSION].cache._memories.clear()
    yield
    set_cache(app, database, None)


def set_cache(app: Flask, database: Database, settings: CacheSettings | None) -> None:
    """Change what is remembered, and wait until the process knows."""
    services: Services = app.extensions[EXTENSION]
    with open_session(database) as session:
        configure(session, name="xor", settings=ModelSettings(cache=settings))
    wait_until(lambda: services.models.resolve("xor", None).settings.cache == settings)


def test_the_same_input_is_answered_from_memory(api: Api) -> None:
    first, second = (api.predict_xor().get_json() for _ in range(2))

    assert (first["cached"], second["cached"]) == (False, True)
    assert second["result"] == first["result"]
    assert second["id"] != first["id"]


def test_a_hit_is_stored_like_any_other(api: Api) -> None:
    api.predict_xor()
    hit = api.predict_xor(query_string={"catalog": "shop", "external_id": "cached"}).get_json()

    assert api.get(f"/v1/predictions/{hit['id']}").get_json() == hit
    assert (hit["cached"], hit["attempt"], hit["started_at"], hit["device"]) == (True, 0, None, None)


def test_a_hit_needs_no_worker(api: Api, worker: BackgroundWorker) -> None:
    api.predict_xor()
    with worker.paused():
        assert api.predict_xor().get_json()["status"] == "succeeded"


def test_another_input_is_computed(api: Api) -> None:
    api.predict_xor()

    assert not api.predict("xor", json={"input": [1, 1]}).get_json()["cached"]


def test_a_request_may_ask_for_a_new_computation(api: Api) -> None:
    api.predict_xor()

    assert not api.predict_xor(query_string={"no_cache": "true"}).get_json()["cached"]


def test_another_tenant_learns_nothing_from_the_memory(api: Api, app: Flask, database: Database) -> None:
    api.predict_xor()
    other = Api(app, make_key(database, Scope.PREDICT))

    assert not other.predict_xor().get_json()["cached"]


def test_an_old_answer_is_not_given_again(api: Api, app: Flask, database: Database) -> None:
    set_cache(app, database, CacheSettings(ttl_s=0.001, max_bytes=MEBIBYTE))
    api.predict_xor()
    time.sleep(0.01)

    assert not api.predict_xor().get_json()["cached"]


def test_a_model_that_remembers_nothing_computes_each(api: Api, app: Flask, database: Database) -> None:
    set_cache(app, database, None)
    api.predict_xor()

    assert not api.predict_xor().get_json()["cached"]


def test_the_memory_has_a_bound(app: Flask) -> None:
    cache: ResultCache = app.extensions[EXTENSION].cache
    version = app.extensions[EXTENSION].models.resolve("xor", None)
    large = {"text": "x" * (MEBIBYTE // 4)}

    for number in range(8):
        ticket = Ticket(submission(version), version, wait_s=1)
        cache.run(ticket, str(number), CacheSettings(ttl_s=60, max_bytes=MEBIBYTE), lambda each: _finish(each, large))

    [(_, entries)] = cache._memories.values()
    assert [key[2] for key in entries] == ["5", "6", "7"]


def test_identical_requests_in_flight_share_one_computation(
    api: Api, worker: BackgroundWorker, in_thread: InThread, services_of_app: Services
) -> None:
    with worker.paused():
        asked = [in_thread(api.predict_xor) for _ in range(4)]
        wait_until(lambda: _waiting(services_of_app) == 1)

    bodies = [each.result(PATIENCE_S).get_json() for each in asked]
    assert sorted(body["cached"] for body in bodies) == [False, True, True, True]
    assert len({body["id"] for body in bodies}) == 4


def test_a_shared_computation_that_does_not_end_leaves_each_its_own(
    api: Api, worker: BackgroundWorker, in_thread: InThread
) -> None:
    with worker.paused():
        asked = [in_thread(lambda: api.predict_xor(headers={"Prefer": "wait=1"})) for _ in range(2)]
        responses = [each.result(PATIENCE_S) for each in asked]

    assert [response.status_code for response in responses] == [202, 202]


def test_a_promotion_leaves_older_answers_out_of_reach(api: Api, app: Flask, database: Database) -> None:
    services: Services = app.extensions[EXTENSION]
    api.predict_xor()
    old = services.models.resolve("xor", None)
    _promote_copy(database, old)
    wait_until(lambda: services.models.resolve("xor", None).number != old.number)

    body = api.predict_xor().get_json()
    clean(database)
    wait_until(lambda: services.models.resolve("xor", None).number == old.number)
    assert (body["version"], body["cached"]) == (old.number + 1, False)


@pytest.fixture
def services_of_app(app: Flask) -> Services:
    found: Services = app.extensions[EXTENSION]
    return found


def _finish(ticket: Ticket, result: dict[str, Any]) -> None:
    ticket.finish_early(Answer(elapsed_ms=1.0, result=result))


def _waiting(services: Services) -> int:
    return len(services.listener._waiting)


def _promote_copy(database: Database, version: ServedVersion) -> None:
    """Make the same network the champion under the next number."""
    with open_session(database) as session:
        added = register_version(
            session,
            name=version.model,
            kind=version.kind,
            config=version.config or VECTOR_CONFIG,
            weights_sha256=version.weights_sha256,
            weights_bytes=1,
            metrics={},
            source="imported",
        )
        promote(session, name=version.model, number=added.number, actor="tests", reason="to answer")
