"""`tasks.following`: a worker loads what is promoted beside what it serves, and says how that went."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from sqlalchemy import Engine as Database
from sqlalchemy import text

from ml.engine import Engine
from schemas.enums import TrafficPolicy, WorkerRole
from schemas.traffic import TrafficPlan
from store.database import open_session
from store.errors import ObjectsUnavailableError
from store.models import get_model, get_version, register_version
from store.objects import ObjectStore
from store.promotion import promote, set_challenger
from store.traffic import clear_traffic, set_traffic
from store.workers import register_worker, renew_lease
from tasks.drainer import Drainer
from tasks.following import VersionFollower
from tasks.life import WorkerLife
from tasks.loader import ModelLoader
from tasks.spool import Spool
from tests.factories import HOST, VECTOR_CONFIG, Rows, add_model, autocommit
from tests.integration.tasks.conftest import DEVICE, QUEUE
from tests.running import wait_until

pytestmark = pytest.mark.usefixtures("one")


class Member:
    """A worker of one device, without the thread that would look by itself."""

    def __init__(self, engine: Engine, database: Database, objects: ObjectStore) -> None:
        self.loader = ModelLoader(engine, database, objects)
        self.life = WorkerLife(
            database,
            name="cpu-0@here",
            role=WorkerRole.INFERENCE,
            device=DEVICE,
            queue=QUEUE,
            held=self.loader.held,
            load_failures=lambda: self.loader.load_failures,
        )
        self.follower = VersionFollower(database, self.loader, self.life.tell)


@pytest.fixture
def engine() -> Iterator[Engine]:
    """A device with nothing on it."""
    engine = Engine(DEVICE)
    yield engine
    engine.close()


@pytest.fixture
def member(engine: Engine, database: Database, objects: ObjectStore, committed: Rows) -> Iterator[Member]:  # noqa: ARG001 - removes what the test commits
    """A live worker."""
    member = Member(engine, database, objects)
    member.life.begin()
    yield member
    member.life.end()
    member.loader.close()


@pytest.fixture
def one(database: Database, member: Member, committed: Rows) -> Rows:
    """A model of two versions with the weights of `xor`, the first of which is loaded and answers."""
    with open_session(database) as session:
        weights = get_version(session, "xor", 1).weights_sha256
        first = add_model(session, "one", weights_sha256=weights)
        _register(session, weights)
    member.loader.ensure(first.model_version_id)
    return Rows(committed.connection, first)


@pytest.fixture
def drainer(
    member: Member, engine: Engine, database: Database, objects: ObjectStore, valkey: redis.Redis, tmp_path: Path
) -> Iterator[Drainer]:
    """Claims as the member does: another live worker would be waited for."""
    drainer = Drainer(
        engine=engine,
        loader=member.loader,
        life=member.life,
        claims_database=database,
        results_database=database,
        objects=objects,
        replies=valkey,
        device=DEVICE,
        queues=[QUEUE],
        spool=Spool(tmp_path / "spool", "cpu-0"),
    )
    yield drainer
    drainer.close()


def test_a_promoted_version_is_loaded_beside_the_champion_and_then_answers(member: Member, database: Database) -> None:
    _promote(database, 2)
    assert _aliases(database) == (1, 2)

    member.follower.follow()

    assert member.loader.held() == ["one/1", "one/2"]
    assert _aliases(database) == (2, None)


def test_the_thread_looks_by_itself(member: Member, database: Database) -> None:
    member.follower.start()

    _promote(database, 2)

    wait_until(lambda: _aliases(database) == (2, None))
    member.follower.stop()


def test_the_thread_outlives_a_fault(member: Member, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = iter([RuntimeError("a fault of ours")])
    follow = member.follower.follow

    def follow_or_fail() -> None:
        for error in broken:
            raise error
        follow()

    monkeypatch.setattr(member.follower, "follow", follow_or_fail)

    test_the_thread_looks_by_itself(member, database)


def test_a_challenger_is_loaded(member: Member, database: Database) -> None:
    with open_session(database) as session:
        set_challenger(session, name="one", number=2, actor="tests", reason="new")

    member.follower.follow()

    assert "one/2" in member.loader.held()


def test_a_version_that_cannot_be_loaded_is_told_and_the_champion_stays(member: Member, database: Database) -> None:
    number = _add_broken(database)
    _promote(database, number)

    member.follower.follow()

    assert _aliases(database) == (1, None)
    with open_session(database) as session:
        assert "one version 3 cannot be loaded on cpu" in (get_version(session, "one", number).failure or "")


def test_a_version_is_named_while_it_is_being_loaded(
    member: Member, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Any] = []
    monkeypatch.setattr(member.loader, "ensure", lambda *_, **__: told.append(_load_failures(database)))
    _promote(database, 2)

    member.follower.follow()

    assert told == [{"one/2": None}]
    assert _load_failures(database) == {}


def test_a_passing_fault_is_no_failure(member: Member, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.following.REST_S", 0.0)
    with monkeypatch.context() as patch:
        patch.setattr(member.loader, "ensure", _raise(ObjectsUnavailableError("away")))
        _promote(database, 2)
        member.follower.follow()
    assert _aliases(database) == (1, 2)

    member.follower.follow()

    assert _aliases(database) == (2, None)


def test_a_version_that_met_a_passing_fault_rests(
    member: Member, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[int] = []

    def fail(version_id: int, **_: Any) -> None:
        tried.append(version_id)
        raise ObjectsUnavailableError("away")

    monkeypatch.setattr(member.loader, "ensure", fail)
    _promote(database, 2)

    for _ in range(3):
        member.follower.follow()

    assert len(tried) == 1


def test_a_version_that_killed_a_worker_is_not_loaded_by_the_next(member: Member, database: Database) -> None:
    _promote(database, 2)
    with autocommit(database) as connection:
        dead = register_worker(
            connection, name="cpu-1@elsewhere", role=WorkerRole.INFERENCE, device=DEVICE, queue="q", host=HOST, pid=1
        )
        renew_lease(connection, dead, ["one/1"], load_failures={"one/2": None})
        connection.execute(
            text("UPDATE workers SET stopped_at = now(), stop_reason = 'died' WHERE id = :id"), {"id": dead}
        )

    member.follower.follow()

    assert member.loader.held() == ["one/1"]
    with open_session(database) as session:
        assert get_version(session, "one", 2).failure == "cpu-1@elsewhere died while it loaded it"


def test_rows_of_a_version_that_only_others_can_load_are_left_to_them(
    member: Member, one: Rows, database: Database, drainer: Drainer
) -> None:
    number = _add_broken(database)
    with autocommit(database) as connection:
        other = register_worker(
            connection, name="cpu-1@elsewhere", role=WorkerRole.INFERENCE, device=DEVICE, queue="q", host=HOST, pid=1
        )
        renew_lease(connection, other, ["one/1", f"one/{number}"])
    _promote(database, number)
    member.follower.follow()
    with open_session(database) as session:
        assert get_model(session, "one").champion_id == get_version(session, "one", number).id
        version_id = get_version(session, "one", number).id
    row = one.add(model_version_id=version_id)

    drainer.drain()

    assert one.status(row) == "queued"


def test_rows_of_a_version_that_nobody_can_load_fail_with_the_reason(
    member: Member, one: Rows, database: Database, drainer: Drainer
) -> None:
    number = _add_broken(database)
    _promote(database, number)
    member.follower.follow()
    with open_session(database) as session:
        row = one.add(model_version_id=get_version(session, "one", number).id)

    drainer.drain()

    assert (one.status(row), one.get(row).error_code) == ("failed", "model_unavailable")


def test_rows_of_an_arm_that_nobody_can_load_fail_where_guards_see_it(
    member: Member, one: Rows, database: Database, drainer: Drainer
) -> None:
    number = _add_broken(database)
    with open_session(database) as session:
        plan = TrafficPlan(policy=TrafficPolicy.FIXED, weights={1: 1, number: 1})
        set_traffic(session, name="one", plan=plan, actor="tests")
    member.follower.follow()
    with open_session(database) as session:
        row = one.add(model_version_id=get_version(session, "one", number).id)
        clear_traffic(session, name="one", actor="tests")

    drainer.drain()

    assert (one.status(row), one.get(row).error_code) == ("failed", "model_unavailable")


def _register(session: Any, weights_sha256: str) -> int:
    return register_version(
        session,
        name="one",
        kind="classification",
        config=VECTOR_CONFIG,
        weights_sha256=weights_sha256,
        weights_bytes=1,
        metrics={},
        source="uploaded",
    ).number


def _add_broken(database: Database) -> int:
    """Register a version whose weights are nowhere."""
    with open_session(database) as session:
        return _register(session, "00" * 32)


def _promote(database: Database, number: int) -> None:
    with open_session(database) as session:
        promote(session, name="one", number=number, actor="tests", reason="better")


def _aliases(database: Database) -> tuple[int | None, int | None]:
    """The champion and what is upcoming."""
    with open_session(database) as session:
        model = get_model(session, "one")
        champion, upcoming = model.champion, model.upcoming
        return (None if champion is None else champion.number), (None if upcoming is None else upcoming.number)


def _load_failures(database: Database) -> Any:
    with autocommit(database) as connection:
        return connection.execute(text("SELECT load_failures FROM workers WHERE stopped_at IS NULL")).scalar_one()


def _raise(error: Exception) -> Any:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    return fail
