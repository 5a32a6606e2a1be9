"""`tasks.traffic`: learned splits learn, broken guards stop a split; called as plain functions on committed rows."""

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Engine as Database
from sqlalchemy import text

from schemas.enums import DecisionAction, TrafficPolicy
from schemas.traffic import Guards, TrafficPlan
from store import ledger
from store.database import open_session
from store.decisions import list_decisions
from store.models import resolve
from store.promotion import promote
from store.tables.decision import Decision
from store.traffic import TrafficState, read_traffic, set_traffic
from tasks.traffic import Look, TrafficKeeper, act_on, look_at
from tests.factories import Rows, add_version, autocommit, clean, failure, success

NAME = "kept"


class Split:
    """A model whose traffic two versions share.

    Args:
        database: Cleaned by the fixture.
    """

    def __init__(self, database: Database) -> None:
        self.database = database
        self.keeper = TrafficKeeper(database)
        with open_session(database) as session:
            for number in (1, 2):
                add_version(session, NAME, promoted=number == 1)
            self.versions = [resolve(session, NAME, number) for number in (1, 2)]

    def put(self, policy: TrafficPolicy = TrafficPolicy.FIXED, **changes: Any) -> None:
        plan = TrafficPlan(policy=policy, weights={1: 50, 2: 50}, **changes)
        with open_session(self.database) as session:
            set_traffic(session, name=NAME, plan=plan, actor="tests")
        self.execute("UPDATE traffic SET started_at = now() - interval '1 hour'")

    def ends(self, number: int, count: int, *, failed: bool = False, is_correct: bool | None = None) -> None:
        """Let predictions of a version end, with feedback where the truth is known."""
        with autocommit(self.database) as connection:
            rows = Rows(connection, self.versions[number - 1])
            rows.add_many(count, assignment_probability=0.5)
            outcomes = [failure(claim) if failed else success(claim) for claim in rows.claim_all()]
            ledger.complete(connection, outcomes)
        if is_correct is not None:
            self.execute(
                "INSERT INTO feedback (prediction_id, api_key_id, model_id, model_version_id, label, is_correct, "
                "source, weight, recorded_by, predicted_at) SELECT id, api_key_id, model_id, model_version_id, "
                "CAST('\"1\"' AS jsonb), :is_correct, 'tests', 1, 1, created_at FROM predictions "
                "WHERE model_version_id = :version ON CONFLICT DO NOTHING",
                is_correct=is_correct,
                version=self.versions[number - 1].model_version_id,
            )

    def execute(self, statement: str, **parameters: Any) -> None:
        with autocommit(self.database) as connection:
            connection.execute(text(statement), parameters)

    def read(self) -> TrafficState:
        with open_session(self.database) as session:
            return read_traffic(session, NAME)

    def probabilities(self) -> dict[int, float]:
        return {number: probability for number, probability, _ in self.read().arms}

    def decisions(self, action: DecisionAction) -> list[Decision]:
        with open_session(self.database) as session:
            found = list_decisions(session, model_id=self.versions[0].model_id, limit=20)
            return [each for each in found if each.action == action]


@pytest.fixture
def split(database: Database) -> Iterator[Split]:
    yield Split(database)
    clean(database)


def test_a_learned_split_follows_the_feedback(split: Split) -> None:
    split.put(TrafficPolicy.LEARNED)
    split.ends(1, 30, is_correct=False)
    split.ends(2, 30, is_correct=True)

    split.keeper.keep()

    assert split.probabilities() == {1: pytest.approx(0.01, abs=1e-4), 2: pytest.approx(0.99, abs=1e-4)}
    assert split.read().arms[1][2] == {
        "mean": pytest.approx(31 / 32),
        "deviation": pytest.approx(0.0303, abs=1e-4),
        "feedback": 30,
    }


def test_feedback_that_comes_late_counts_as_soon_as_it_comes(split: Split) -> None:
    split.put(TrafficPolicy.LEARNED)
    split.ends(1, 30)
    split.ends(2, 30)
    split.keeper.keep()
    assert split.probabilities() == {1: pytest.approx(0.5), 2: pytest.approx(0.5)}

    split.execute("UPDATE predictions SET created_at = created_at - interval '30 minutes'")
    split.ends(2, 30, is_correct=True)
    TrafficKeeper(split.database).keep()

    assert split.probabilities()[2] > 0.95


def test_feedback_beyond_the_window_is_left_out(split: Split) -> None:
    split.put(TrafficPolicy.LEARNED)
    split.execute('UPDATE traffic SET learning = \'{"window_s": 60, "floor": 0.01}\'')
    split.ends(2, 30, is_correct=True)
    split.execute("UPDATE feedback SET predicted_at = predicted_at - interval '2 minutes'")

    split.keeper.keep()

    assert split.probabilities()[2] == pytest.approx(0.5)


def test_a_version_that_fails_stops_the_split(split: Split) -> None:
    split.put(shadows=())
    split.ends(1, 60)
    split.ends(2, 60, failed=True)

    split.keeper.keep()

    assert (split.read().plan.policy, split.read().arms) == (TrafficPolicy.NONE, ())
    [stop] = split.decisions(DecisionAction.STOP)
    assert (stop.actor, stop.model_version_id) == ("beat", split.versions[1].model_version_id)
    assert (stop.figures["guard"], stop.figures["failed"], stop.figures["of"]) == ("error_rate_rise", 60, 60)
    assert stop.figures["before"]["weights"] == {"1": 50.0, "2": 50.0}


def test_a_version_that_is_wrong_stops_a_learned_split_too(split: Split) -> None:
    split.put(TrafficPolicy.LEARNED)
    split.ends(1, 60, is_correct=True)
    split.ends(2, 60, is_correct=False)

    split.keeper.keep()

    assert split.decisions(DecisionAction.STOP)[0].figures["guard"] == "quality_drop"


def test_slow_answers_while_a_version_warms_up_stop_nothing(split: Split) -> None:
    split.put()
    split.execute("UPDATE traffic SET started_at = now()")
    split.ends(1, 120)
    split.ends(2, 60)
    split.execute(
        "UPDATE predictions SET created_at = created_at - interval '5 seconds' WHERE model_version_id = :version",
        version=split.versions[1].model_version_id,
    )

    split.keeper.keep()
    assert split.read().plan.policy is TrafficPolicy.FIXED

    split.execute("UPDATE traffic SET started_at = now() - interval '1 hour'")
    TrafficKeeper(split.database).keep()
    assert split.decisions(DecisionAction.STOP)[0].figures["guard"] == "latency_ratio"


def test_a_good_version_stops_nothing(split: Split) -> None:
    split.put()
    for number in (1, 2):
        split.ends(number, 60, is_correct=True)

    split.keeper.keep()

    assert split.probabilities() == {1: 0.5, 2: 0.5}
    assert split.decisions(DecisionAction.STOP) == []


def test_a_guard_that_is_off_stops_nothing(split: Split) -> None:
    split.put(guards=Guards(error_rate_rise=None, latency_ratio=None, quality_drop=None))
    split.ends(1, 60)
    split.ends(2, 60, failed=True)

    split.keeper.keep()

    assert split.read().plan.policy is TrafficPolicy.FIXED


def test_what_failed_in_the_split_before_stops_no_new_one(split: Split) -> None:
    split.put()
    split.ends(1, 60)
    split.ends(2, 60, failed=True)
    split.keeper.keep()
    with open_session(split.database) as session:
        plan = TrafficPlan(policy=TrafficPolicy.FIXED, weights={1: 50, 2: 50})
        set_traffic(session, name=NAME, plan=plan, actor="tests")

    TrafficKeeper(split.database).keep()

    assert len(split.decisions(DecisionAction.STOP)) == 1
    assert split.probabilities() == {1: 0.5, 2: 0.5}


def test_a_promotion_ends_the_split_in_the_log_as_well(split: Split) -> None:
    split.put()
    with open_session(split.database) as session:
        promote(session, name=NAME, number=2, actor="tests", reason="better")

    split.keeper.keep()

    assert split.read().plan.policy is TrafficPolicy.NONE
    [over, _put] = split.decisions(DecisionAction.TRAFFIC)
    assert over.actor == "beat"


def test_a_split_that_was_changed_meanwhile_is_left_alone(split: Split) -> None:
    split.put(TrafficPolicy.LEARNED)
    split.ends(1, 60)
    split.ends(2, 60, failed=True)
    with open_session(split.database) as session:
        look = look_at(session, split.versions[0].model_id)
    assert isinstance(look, Look)
    assert look.breach is not None
    split.put()

    with open_session(split.database) as session:
        act_on(session, split.versions[0].model_id, look)

    assert split.read().plan.policy is TrafficPolicy.FIXED


def test_a_split_that_is_gone_is_not_looked_at(split: Split) -> None:
    with open_session(split.database) as session:
        assert look_at(session, split.versions[0].model_id) is None


def test_a_split_rests_after_a_look_that_took_long(split: Split) -> None:
    split.put()
    split.ends(1, 60)
    split.keeper.keep()
    split.keeper._due = dict.fromkeys(split.keeper._due, float("inf"))
    split.ends(2, 60, failed=True)

    split.keeper.keep()

    assert split.decisions(DecisionAction.STOP) == []
