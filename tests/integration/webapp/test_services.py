"""`webapp.services` and `webapp.workers`: what a web process remembers, and for how long."""

import random
from collections.abc import Sequence

import pytest
from sqlalchemy import Engine as Database
from sqlalchemy import text

from schemas.enums import Scope, WorkerRole
from store.database import open_session
from store.errors import InvalidKeyError, UnknownModelError
from store.keys import create_key, revoke_key
from store.promotion import promote
from store.workers import register_worker
from tests.factories import Rows, add_model
from tests.integration.serving import make_key
from tests.running import wait_until
from webapp.balancer import RoundRobinBalancer, WorkerView
from webapp.services import KeyCache, ModelCache
from webapp.workers import WorkerDirectory


def test_a_key_is_known_without_asking_again(database: Database) -> None:
    key, cache = make_key(database, Scope.READ), KeyCache(database)
    known = cache.verify(key)

    with open_session(database) as session:
        revoke_key(session, known.public_id)

    assert cache.verify(key) == known


def test_a_revoked_key_is_forgotten_within_its_time(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("webapp.services.KEY_CACHE_S", 0.0)
    with open_session(database) as session:
        row, key = create_key(session, name="tests", scopes=[Scope.READ])
    cache = KeyCache(database)
    cache.verify(key)
    with open_session(database) as session:
        revoke_key(session, row.public_id)

    with pytest.raises(InvalidKeyError):
        cache.verify(key)


@pytest.mark.usefixtures("committed")
def test_a_version_is_known_without_asking_again(database: Database) -> None:
    with open_session(database) as session:
        first = add_model(session, "one")
    cache = ModelCache(database)
    assert cache.resolve("one", None) == first

    _promote_another(database)

    assert cache.resolve("one", None) == first


@pytest.mark.usefixtures("committed")
def test_a_promotion_is_seen_within_its_time(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("webapp.services.MODEL_CACHE_S", 0.0)
    with open_session(database) as session:
        add_model(session, "one")
    cache = ModelCache(database)
    cache.resolve("one", None)

    _promote_another(database)

    assert cache.resolve("one", None).number == 2


@pytest.mark.usefixtures("committed")
def test_an_unknown_model_is_asked_for_again(database: Database) -> None:
    cache = ModelCache(database)
    with pytest.raises(UnknownModelError):
        cache.resolve("one", None)

    with open_session(database) as session:
        add_model(session, "one")

    assert cache.resolve("one", None).number == 1


def test_the_directory_knows_the_queues_of_live_inference_workers(database: Database, committed: Rows) -> None:
    committed.worker()
    _register(committed, WorkerRole.TRAINING, "training")
    committed.shift_lease(_register(committed, WorkerRole.INFERENCE, "inference-cpu-7"), -1)
    balancer = RecordingBalancer()
    directory = WorkerDirectory(database, balancer)

    directory.start()

    assert balancer.queues == ["inference-cpu-0"]
    directory.stop()


def test_the_directory_hears_of_new_workers(
    database: Database, committed: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("webapp.workers.REFRESH_S", 0.01)
    balancer = RecordingBalancer()
    directory = WorkerDirectory(database, balancer)
    directory.start()

    committed.worker()

    wait_until(lambda: balancer.queues == ["inference-cpu-0"])
    directory.stop()


@pytest.mark.usefixtures("committed")
def test_a_champion_that_is_not_ready_here_leaves_the_one_before(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("webapp.services.MODEL_CACHE_S", 0.0)
    ready: set[int] = set()
    with open_session(database) as session:
        first = add_model(session, "one")
    cache = ModelCache(database, lambda version: version.number in ready)
    assert cache.resolve("one", None) == first
    _promote_another(database)

    assert cache.resolve("one", None) == first
    assert cache.resolve("one", 2).number == 2

    ready.add(2)
    assert cache.resolve("one", None).number == 2


@pytest.mark.usefixtures("committed")
def test_a_champion_that_never_gets_ready_here_is_left_to_the_workers(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("webapp.services.MODEL_CACHE_S", 0.0)
    monkeypatch.setattr("webapp.services.INLINE_PATIENCE_S", 0.0)
    with open_session(database) as session:
        add_model(session, "one")
    cache = ModelCache(database, lambda _: False)
    cache.resolve("one", None)

    _promote_another(database)

    assert cache.resolve("one", None).number == 2


class RecordingBalancer(RoundRobinBalancer):
    """Notes what it was told."""

    def __init__(self) -> None:
        super().__init__(random.Random(0))
        self.queues: list[str] = []

    def update(self, workers: Sequence[WorkerView], now: float) -> None:
        super().update(workers, now)
        self.queues = [worker.queue for worker in workers]


def _promote_another(database: Database) -> None:
    """Register a second version of the model `one` and let it answer."""
    with open_session(database) as session:
        session.execute(
            text(
                "INSERT INTO model_versions (model_id, number, config, weights_sha256, weights_bytes, metrics, source) "
                "SELECT model_id, 2, config, weights_sha256, weights_bytes, metrics, source "
                "FROM model_versions v JOIN models m ON m.id = v.model_id WHERE m.name = 'one'"
            )
        )
        promote(session, name="one", number=2, actor="tests", reason="to answer")


def _register(rows: Rows, role: WorkerRole, queue: str) -> int:
    return register_worker(rows.connection, name=queue, role=role, device="cpu:0", queue=queue, host="elsewhere", pid=2)
