"""`tasks.neighbours` and `tasks.reindexing`: from photos in the queue to indexes, with a real network."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
import redis
from sqlalchemy import Engine as Database
from sqlalchemy import text

from ml.bundles import BUNDLED_DIRECTORY, read_bundle
from schemas.enums import IndexAction
from schemas.names import QueueName
from store import ledger
from store.database import open_session
from store.models import register_version, resolve
from store.objects import ObjectStore
from store.settings import Settings
from tasks.doorbell import Doorbell
from tasks.drainer import Drainer
from tasks.maintenance import Maintenance
from tasks.reindexing import refresh_champions, refresh_version
from tests.broker import PREFIX, waiting_messages
from tests.factories import HOST, Rows, make_champion
from tests.running import SAMPLES

MODEL = "fashion-similar"

SANDAL = (SAMPLES / "sandal-01.png").read_bytes()
BAG = (SAMPLES / "bag-01.png").read_bytes()


@pytest.fixture
def first(database: Database, committed: Rows) -> Rows:
    """The bundled version."""
    with open_session(database) as session:
        return Rows(committed.connection, resolve(session, MODEL))


@pytest.fixture
def second(database: Database, first: Rows, objects: ObjectStore) -> Iterator[Rows]:
    """A second version, the champion: the same network, known as another."""
    bundle = read_bundle(BUNDLED_DIRECTORY / MODEL)
    with open_session(database) as session:
        register_version(
            session,
            name=MODEL,
            kind="similarity",
            config=bundle.config,
            weights_sha256=objects.put(bundle.weights),
            weights_bytes=len(bundle.weights),
            metrics={},
            source="imported",
        )
        version = make_champion(session, MODEL, 2)
    yield Rows(first.connection, version)
    with open_session(database) as session:
        make_champion(session, MODEL, 1)


def test_a_batch_of_puts_and_searches_is_answered(drainer: Drainer, first: Rows, objects: ObjectStore) -> None:
    _put(first, objects, "sandal", SANDAL)
    drainer.drain()
    put, search = _put(first, objects, "bag", BAG), _search(first, objects, SANDAL)

    drainer.drain()

    assert first.get(put).result["indexed"] is True
    assert first.get(search).result["items"][0] == {
        "catalog": "shop",
        "external_id": "sandal",
        "distance": 0.0,
        "photo_sha256": objects.put(SANDAL),
        "photo_url": f"/v1/models/{MODEL}/items/shop/sandal/photo",
    }


def test_a_put_whose_worker_died_is_still_queued_and_then_indexed(
    drainer: Drainer, first: Rows, objects: ObjectStore
) -> None:
    prediction_id = _put(first, objects, "sandal", SANDAL)
    first.claim(worker_id=first.worker(pid=7))
    ledger.release_dead_worker(first.connection, host=HOST, pid=7)
    assert first.status(prediction_id) == "queued"

    drainer.drain()

    assert first.get(prediction_id).result["indexed"] is True


def test_a_put_that_a_later_one_overtook_says_so(drainer: Drainer, first: Rows, objects: ObjectStore) -> None:
    early = _put(first, objects, "1", SANDAL, run_after_s=3600)
    late = _put(first, objects, "1", BAG)
    drainer.drain()
    first.shift(early, "run_after", 0)

    drainer.drain()

    assert [first.get(each).result["indexed"] for each in (late, early)] == [True, False]


def test_a_champion_is_asked_for_what_it_has_not_seen(
    drainer: Drainer, first: Rows, second: Rows, objects: ObjectStore, database: Database
) -> None:
    _put(first, objects, "sandal", SANDAL)
    drainer.drain()
    assert _found(drainer, second, objects) == []

    assert refresh_champions(database) == 1
    assert refresh_champions(database) == 0
    drainer.drain()

    assert refresh_champions(database) == 0
    assert _found(drainer, second, objects) == _found(drainer, first, objects) == ["sandal"]


def test_refreshing_runs_at_bulk_priority_for_the_key_that_owns_the_item(
    drainer: Drainer, first: Rows, second: Rows, objects: ObjectStore, database: Database
) -> None:
    _put(first, objects, "sandal", SANDAL)
    drainer.drain()

    refresh_champions(database)

    asked = first.connection.execute(text("SELECT * FROM predictions WHERE index_action = 'refresh'")).one()
    assert (asked.priority, asked.api_key_id, asked.model_version_id) == ("bulk", 1, second.version.model_version_id)


def test_no_more_is_asked_for_than_the_limit(
    drainer: Drainer, first: Rows, second: Rows, objects: ObjectStore, database: Database
) -> None:
    for name in "abc":
        _put(first, objects, name, SANDAL)
    drainer.drain()

    assert [refresh_version(database, second.version, limit=2) for _ in range(3)] == [2, 1, 0]


@pytest.mark.usefixtures("second")
def test_the_maintenance_job_rings_for_what_it_asked(
    drainer: Drainer, first: Rows, objects: ObjectStore, database: Database, settings: Settings, valkey: redis.Redis
) -> None:
    _put(first, objects, "sandal", SANDAL)
    drainer.drain()
    valkey.delete(f"{PREFIX}{QueueName.INFERENCE}")

    Maintenance(database, valkey, Doorbell(settings.redis_url), timedelta(days=90)).refresh_indexes()

    [(_, message)] = waiting_messages(valkey, QueueName.INFERENCE)
    assert (message["model"], message["version"]) == (MODEL, 2)


def _put(rows: Rows, objects: ObjectStore, name: str, photo: bytes, run_after_s: float = 0) -> UUID:
    prediction_id = rows.add(
        catalog="shop",
        external_id=name,
        input=None,
        input_sha256=objects.put(photo),
        input_bytes=len(photo),
        index_action=IndexAction.PUT,
    )
    if run_after_s:
        rows.shift(prediction_id, "run_after", run_after_s)
    return prediction_id


def _search(rows: Rows, objects: ObjectStore, photo: bytes) -> UUID:
    return rows.add(input=None, input_sha256=objects.put(photo), input_bytes=len(photo))


def _found(drainer: Drainer, rows: Rows, objects: ObjectStore) -> list[str]:
    prediction_id = _search(rows, objects, SANDAL)
    drainer.drain()
    items: list[dict[str, Any]] = rows.get(prediction_id).result["items"]
    return [item["external_id"] for item in items]
