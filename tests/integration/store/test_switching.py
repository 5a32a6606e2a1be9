"""`store.switching`: a promotion is decided at once, and takes place when the workers hold the version."""

from collections.abc import Mapping

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.orm import Session

from schemas.enums import StopReason, WorkerRole
from store import models, switching
from store.decisions import list_decisions
from store.errors import NoEarlierChampionError, VersionStateError
from store.promotion import archive, promote, rollback, set_challenger
from store.switching import settle
from store.tables.model import Model
from store.version_loading import list_wanted
from store.workers import end_worker, register_worker, renew_lease
from tests.factories import HOST, VECTOR_CONFIG, add_model

pytestmark = pytest.mark.usefixtures("one")

ALL = ["one/1", "one/2", "one/3"]


class Fleet:
    """Inference workers, as their rows tell of them."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def join(self, *held: str, role: WorkerRole = WorkerRole.INFERENCE) -> int:
        """Register a worker that holds these versions."""
        worker_id = register_worker(
            self.connection, name="cpu-0@elsewhere", role=role, device="cpu:0", queue="q", host=HOST, pid=1
        )
        self.tell(worker_id, *held)
        return worker_id

    def tell(self, worker_id: int, *held: str, failures: Mapping[str, str | None] | None = None) -> None:
        """Let a worker say what it holds and what it could not load."""
        renew_lease(self.connection, worker_id, held, load_failures=failures or {})


@pytest.fixture
def one(session: Session) -> Model:
    """A model of three versions, the first of which answers."""
    add_model(session, "one")
    for _ in range(2):
        _register(session)
    return models.get_model(session, "one")


@pytest.fixture
def fleet(session: Session) -> Fleet:
    return Fleet(session.connection())


def test_without_workers_a_promoted_version_answers_at_once(session: Session) -> None:
    _promote(session, 2)

    assert _champion(session) == 2


def test_a_version_that_every_worker_holds_answers_at_once(session: Session, one: Model, fleet: Fleet) -> None:
    fleet.join("one/1", "one/2")

    _promote(session, 2)

    assert (_champion(session), one.upcoming) == (2, None)


def test_the_first_champion_waits_for_nobody(session: Session, fleet: Fleet) -> None:
    fleet.join()

    assert add_model(session, "another").number == 1


@pytest.mark.parametrize("role", [WorkerRole.TRAINING, WorkerRole.MAINTENANCE])
def test_workers_that_answer_nothing_are_not_waited_for(session: Session, fleet: Fleet, role: WorkerRole) -> None:
    fleet.join(role=role)

    _promote(session, 2)

    assert _champion(session) == 2


def test_a_version_that_a_worker_lacks_is_upcoming_and_wanted(session: Session, fleet: Fleet) -> None:
    fleet.join("one/1")

    _promote(session, 2)

    assert _champion(session) == 1
    assert [(wanted.key, wanted.upcoming) for wanted in list_wanted(session)] == [("one/2", True)]


def test_it_goes_on_waiting_while_no_worker_holds_it(session: Session, fleet: Fleet) -> None:
    fleet.join("one/1")
    _promote(session, 2)
    _age(session, 60)

    settle(session)

    assert _champion(session) == 1


def test_it_answers_when_all_workers_hold_it(session: Session, fleet: Fleet) -> None:
    workers = [fleet.join("one/1") for _ in range(2)]
    _promote(session, 2)

    for worker_id in workers:
        fleet.tell(worker_id, "one/1", "one/2")
    settle(session)

    assert (_champion(session), list_wanted(session)) == (2, [])


def test_a_slow_worker_is_waited_for_within_the_grace(session: Session, fleet: Fleet) -> None:
    fleet.join("one/1")
    fast = fleet.join("one/1")
    _promote(session, 2)

    fleet.tell(fast, "one/1", "one/2")
    settle(session)
    assert _champion(session) == 1

    _age(session, switching.GRACE.total_seconds())
    settle(session)
    assert _champion(session) == 2


def test_a_worker_that_cannot_load_it_is_not_waited_for(session: Session, fleet: Fleet) -> None:
    small, large = fleet.join("one/1"), fleet.join("one/1")
    _promote(session, 2)

    fleet.tell(small, "one/1", failures={"one/2": "too large"})
    fleet.tell(large, "one/1", "one/2")
    settle(session)

    assert _champion(session) == 2


def test_a_version_that_no_worker_can_load_fails_and_the_champion_stays(
    session: Session, one: Model, fleet: Fleet
) -> None:
    worker_id = fleet.join("one/1")
    _promote(session, 2)

    fleet.tell(worker_id, "one/1", failures={"one/2": "its weights are damaged"})
    settle(session)

    version = models.get_version(session, "one", 2)
    assert (_champion(session), one.upcoming) == (1, None)
    assert (version.failed_at is not None, version.failure) == (True, "its weights are damaged")
    assert _log(session)[0] == ("load_failed", 2, "torchqueue", "its weights are damaged")


def test_a_version_that_is_still_being_loaded_has_not_failed(session: Session, fleet: Fleet) -> None:
    worker_id = fleet.join("one/1")
    _promote(session, 2)

    fleet.tell(worker_id, "one/1", failures={"one/2": None})
    settle(session)

    assert [wanted.key for wanted in list_wanted(session)] == ["one/2"]


def test_a_version_that_a_worker_died_of_fails(session: Session, fleet: Fleet) -> None:
    worker_id = fleet.join("one/1")
    fleet.join("one/1")
    _promote(session, 2)
    _age(session, 1)

    fleet.tell(worker_id, "one/1", failures={"one/2": None})
    end_worker(fleet.connection, worker_id, StopReason.DIED)
    settle(session)

    assert models.get_version(session, "one", 2).failure == "cpu-0@elsewhere died while it loaded it"


def test_a_worker_that_died_of_something_else_says_nothing_about_it(session: Session, fleet: Fleet) -> None:
    worker_id = fleet.join("one/1")
    fleet.join("one/1")
    _promote(session, 2)
    _age(session, 1)

    end_worker(fleet.connection, worker_id, StopReason.DIED)
    settle(session)

    assert [wanted.key for wanted in list_wanted(session)] == ["one/2"]


def test_a_promotion_that_never_ends_is_given_up_without_blaming_the_version(session: Session, fleet: Fleet) -> None:
    fleet.join("one/1")
    _promote(session, 2)
    _age(session, switching.GIVE_UP.total_seconds())

    settle(session)

    assert (list_wanted(session), models.get_version(session, "one", 2).failed_at) == ([], None)
    assert _log(session)[0][:2] == ("load_failed", 2)


def test_a_failed_version_cannot_be_promoted(session: Session, one: Model, fleet: Fleet) -> None:
    test_a_version_that_no_worker_can_load_fails_and_the_champion_stays(session, one, fleet)

    with pytest.raises(VersionStateError, match=r"version 2 of 'one' failed.*its weights are damaged"):
        _promote(session, 2)


def test_an_archived_version_cannot_be_promoted(session: Session) -> None:
    _archive(session, 2)

    with pytest.raises(VersionStateError, match=r"version 2 of 'one' is archived.*worse"):
        _promote(session, 2)


def test_what_answers_cannot_be_archived(session: Session) -> None:
    with pytest.raises(VersionStateError, match="version 1 of 'one' answers"):
        _archive(session, 1)


def test_an_archived_challenger_challenges_no_more(session: Session, one: Model) -> None:
    set_challenger(session, name="one", number=2, actor="tests", reason="new")

    _archive(session, 2)

    assert one.challenger is None


def test_a_promotion_overtakes_one_that_is_under_way(session: Session, fleet: Fleet) -> None:
    fleet.join("one/1")
    _promote(session, 2)

    _promote(session, 3)

    assert [wanted.key for wanted in list_wanted(session)] == ["one/3"]
    assert [entry[:2] for entry in _log(session)[:3]] == [("promote", 3), ("call_off", 2), ("promote", 2)]


def test_promoting_what_answers_changes_nothing(session: Session) -> None:
    before = _log(session)

    _promote(session, 1)

    assert _log(session) == before


def test_promoting_the_champion_calls_off_what_is_upcoming(session: Session, fleet: Fleet) -> None:
    fleet.join("one/1")
    _promote(session, 2)

    _promote(session, 1)

    assert (_champion(session), list_wanted(session)) == (1, [])


def test_a_promoted_challenger_challenges_no_more(session: Session, one: Model) -> None:
    set_challenger(session, name="one", number=2, actor="tests", reason="new")

    _promote(session, 2)

    assert one.challenger is None


def test_a_challenger_is_wanted_on_every_device(session: Session) -> None:
    set_challenger(session, name="one", number=2, actor="tests", reason="new")

    assert [(wanted.key, wanted.upcoming) for wanted in list_wanted(session)] == [("one/2", False)]


def test_a_challenger_that_no_worker_can_load_fails(session: Session, one: Model, fleet: Fleet) -> None:
    worker_id = fleet.join("one/1")
    set_challenger(session, name="one", number=2, actor="tests", reason="new")

    fleet.tell(worker_id, "one/1", failures={"one/2": "too large"})
    settle(session)

    assert (one.challenger, models.get_version(session, "one", 2).failure) == (None, "too large")


def test_the_champion_cannot_challenge_itself(session: Session) -> None:
    with pytest.raises(VersionStateError, match="is the champion"):
        set_challenger(session, name="one", number=1, actor="tests", reason="why not")


def test_rolling_back_goes_one_champion_back_each_time(session: Session) -> None:
    _promote(session, 2)
    _promote(session, 3)

    assert [_rollback(session), _rollback(session)] == [2, 1]


def test_a_version_that_was_promoted_twice_is_gone_back_from_twice(session: Session) -> None:
    for number in (2, 1):
        _promote(session, number)

    assert [_rollback(session), _rollback(session)] == [2, 1]


def test_after_a_rollback_a_promotion_counts_from_there(session: Session) -> None:
    _promote(session, 2)
    _rollback(session)
    _promote(session, 3)

    assert _rollback(session) == 1


def test_versions_that_may_not_answer_any_more_are_passed_over(session: Session) -> None:
    _promote(session, 2)
    _promote(session, 3)
    _archive(session, 2)

    assert _rollback(session) == 1


def test_a_first_champion_has_nothing_to_go_back_to(session: Session) -> None:
    with pytest.raises(NoEarlierChampionError, match="'one' had no champion before"):
        _rollback(session)


def test_rolling_back_while_a_promotion_is_under_way_calls_it_off(session: Session, fleet: Fleet) -> None:
    fleet.join("one/1")
    _promote(session, 2)

    assert (_rollback(session), list_wanted(session)) == (1, [])


def test_what_was_called_off_is_nothing_to_go_back_to(session: Session, fleet: Fleet) -> None:
    worker_id = fleet.join("one/1")
    _promote(session, 2)
    fleet.tell(worker_id, *ALL)
    _promote(session, 3)

    assert (_champion(session), _rollback(session)) == (3, 1)


def test_what_failed_to_load_is_nothing_to_go_back_to(session: Session, one: Model, fleet: Fleet) -> None:
    test_a_version_that_no_worker_can_load_fails_and_the_champion_stays(session, one, fleet)
    fleet.join("one/1", "one/3")
    _age(session, 1)
    _promote(session, 3)
    _age(session, switching.GRACE.total_seconds())
    settle(session)

    assert (_champion(session), _rollback(session)) == (3, 1)


def test_a_decision_tells_the_champion_before(session: Session, one: Model) -> None:
    promote(session, name="one", number=2, actor="gate", reason="better", figures={"difference": 0.02})

    [decision] = list_decisions(session, model_id=one.id, limit=1)
    assert (decision.actor, decision.reason, decision.figures) == ("gate", "better", {"before": 1, "difference": 0.02})


def test_decisions_go_on_where_a_page_ended(session: Session, one: Model) -> None:
    for number in (2, 3):
        _promote(session, number)
    first = list_decisions(session, model_id=one.id, limit=2)

    rest = list_decisions(session, model_id=one.id, limit=2, before_id=first[-1].id)

    assert [each.version.number for each in (*first, *rest) if each.version is not None] == [3, 2, 1]


def _register(session: Session) -> None:
    models.register_version(
        session,
        name="one",
        kind="classification",
        config=VECTOR_CONFIG,
        weights_sha256="00" * 32,
        weights_bytes=1,
        metrics={},
        source="uploaded",
    )


def _promote(session: Session, number: int) -> None:
    promote(session, name="one", number=number, actor="tests", reason="better")


def _rollback(session: Session) -> int:
    return rollback(session, name="one", actor="tests", reason="worse").number


def _archive(session: Session, number: int) -> None:
    version = models.get_version(session, "one", number)
    archive(session, version=version, reason="worse", actor="tests")


def _champion(session: Session) -> int:
    return models.resolve(session, "one").number


def _age(session: Session, seconds: float) -> None:
    """Let so much time pass since the promotion that is under way; `now()` stands still in the one transaction."""
    session.flush()
    session.execute(
        text("UPDATE models SET upcoming_since = upcoming_since - :seconds * interval '1 second'"), {"seconds": seconds}
    )
    session.expire_all()


def _log(session: Session) -> list[tuple[str, int | None, str, str]]:
    model_id = models.get_model(session, "one").id
    return [
        (each.action, None if each.version is None else each.version.number, each.actor, each.reason)
        for each in list_decisions(session, model_id=model_id, limit=100)
    ]
