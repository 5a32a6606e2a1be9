"""`store.comparison`: what versions did, from rows, sums by minute and feedback."""

import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from schemas.enums import StickyKey, TrafficPolicy, Verdict
from schemas.traffic import TrafficPlan
from store import ledger
from store.comparison import Comparison, Served, compare, forget_minutes
from store.errors import UnknownModelError
from store.models import ServedVersion, resolve
from store.statistics.sequences import Mean, Proportion
from store.stats import model_stats, summarize_finished
from store.traffic import set_traffic
from tests.factories import Rows, add_version, failure, success

NAME = "compared"

FIXED = TrafficPlan(policy=TrafficPolicy.FIXED, weights={1: 50, 2: 50})

LONG_AGO = datetime.now(UTC) - timedelta(days=2)


class Traffic:
    """Rows of the versions of one model, as real traffic makes them.

    Args:
        session: Rolled back at the end of the test; its `now()` stands still.
    """

    def __init__(self, session: Session) -> None:
        self.session = session
        session.execute(text("UPDATE finished_summary SET summarized_to = now() - interval '2 hours'"))
        self.versions: list[ServedVersion] = []
        for number in (1, 2, 3):
            add_version(session, NAME, promoted=number == 1)
            self.versions.append(resolve(session, NAME, number))

    def split(self, **changes: Any) -> None:
        """Split the traffic, an hour ago."""
        plan = TrafficPlan(**{"policy": TrafficPolicy.FIXED, "weights": {1: 50, 2: 50}} | changes)
        set_traffic(self.session, name=NAME, plan=plan, actor="tests")
        ago = "now() - interval '1 hour'"
        self.session.execute(text(f"UPDATE traffic SET started_at = {ago}, updated_at = {ago}"))
        self.session.expire_all()

    def ends(self, number: int, count: int = 1, *, failed: bool = False, **changes: Any) -> list[UUID]:
        """Let predictions of a version end, in 100 ms, a minute and a half ago."""
        rows = Rows(self.session.connection(), self.versions[number - 1])
        ids = rows.add_many(count, **{"assignment_probability": 0.5} | changes)
        outcomes = [failure(claim) if failed else success(claim) for claim in rows.claim_all()]
        ledger.complete(self.session.connection(), outcomes)
        self.shift(ids, "finished_at", 90.0)
        self.shift(ids, "created_at", 90.1)
        return ids

    def shift(self, ids: Iterable[UUID], column: str, seconds_ago: float) -> None:
        """Set a time of rows. Rows that have ended are moved by hand, past the guard of their state."""
        self.session.execute(
            text(f"UPDATE predictions SET {column} = now() - :ago * interval '1 second' WHERE id = ANY(:ids)"),
            {"ago": seconds_ago, "ids": list(ids)},
        )

    def judge(self, ids: Iterable[UUID], *, is_correct: bool | None = None, error: float | None = None) -> None:
        """Store feedback as it is stored for answers."""
        for each in ids:
            self.session.execute(
                text(
                    "INSERT INTO feedback (prediction_id, api_key_id, model_id, model_version_id, label, is_correct, "
                    "error, source, weight, recorded_by, predicted_at) SELECT id, api_key_id, model_id, "
                    "model_version_id, CAST(:label AS jsonb), :is_correct, :error, 'tests', 1, 1, created_at "
                    "FROM predictions WHERE id = :id"
                ),
                {"id": each, "is_correct": is_correct, "error": error, "label": json.dumps("1")},
            )

    def sum_up(self) -> None:
        """Sum up what ended, as beat does every second."""
        for _ in range(2):
            summarize_finished(self.session.connection())

    def compare(self, since: datetime | None = None) -> Comparison:
        return compare(self.session, NAME, since=since)

    def versions_seen(self, since: datetime | None = None) -> list[Served]:
        found = self.compare(since)
        return [*([found.champion] if found.champion else []), *found.challengers]


@pytest.fixture
def traffic(session: Session) -> Traffic:
    return Traffic(session)


def test_a_model_that_nobody_asked_has_nothing_to_compare(traffic: Traffic) -> None:
    found = traffic.compare()

    assert (found.champion, found.challengers, found.judged, found.policy) == (None, [], [], TrafficPolicy.NONE)


def test_an_unknown_model_is_not_compared(session: Session) -> None:
    with pytest.raises(UnknownModelError):
        compare(session, "nobody")


def test_both_versions_are_told_before_anything_ended(traffic: Traffic) -> None:
    traffic.split()

    assert [(each.number, each.failures.trials) for each in traffic.versions_seen()] == [(1, 0), (2, 0)]


@pytest.mark.parametrize("summed_up", [False, True])
def test_requests_and_errors_are_counted(traffic: Traffic, summed_up: bool) -> None:
    traffic.split()
    traffic.ends(1, 5)
    traffic.ends(2, 3)
    traffic.ends(2, 1, failed=True)
    if summed_up:
        traffic.sum_up()

    assert [each.failures for each in traffic.versions_seen()] == [Proportion(0, 5), Proportion(1, 4)]


def test_nothing_is_counted_twice_where_sums_and_rows_meet(traffic: Traffic) -> None:
    traffic.split()
    traffic.ends(1, 4)
    traffic.sum_up()
    traffic.ends(1, 3)
    traffic.shift(traffic.ends(1, 2), "finished_at", 0.0)
    start = datetime.now(UTC) - timedelta(minutes=30)

    # Three that ended late, in a second that is summed up already, are the only ones missing.
    assert [each.failures.trials for each in traffic.versions_seen()] == [6, 0]
    assert [each.failures.trials for each in traffic.versions_seen(start)] == [6, 0]


def test_the_first_minute_counts_from_its_second_on(traffic: Traffic, session: Session) -> None:
    traffic.split()
    traffic.shift(traffic.ends(1, 4), "finished_at", 200.0)
    traffic.shift(traffic.ends(1, 2), "finished_at", 199.0)
    traffic.sum_up()
    since = session.execute(text("SELECT now() - interval '199.5 seconds'")).scalar_one()

    assert traffic.versions_seen(since)[0].failures.trials == 2


def test_what_nobody_summed_up_for_long_is_made_up_for(traffic: Traffic) -> None:
    traffic.split()
    traffic.shift(traffic.ends(1, 4), "finished_at", 3_000.0)
    traffic.ends(1, 2)
    traffic.sum_up()

    assert traffic.versions_seen()[0].failures.trials == 6
    assert _minutes(traffic.session) == 6


def test_who_names_a_version_is_no_sample(traffic: Traffic) -> None:
    traffic.split()
    pinned = traffic.ends(2, 4, assignment_probability=None)
    traffic.judge(pinned, is_correct=False)
    traffic.sum_up()

    [_, second] = traffic.versions_seen()
    assert (second.failures.trials, second.quality) == (0, None)


def test_latency_is_by_rank_and_right_to_two_percent(traffic: Traffic) -> None:
    traffic.split()
    traffic.ends(1, 98)
    traffic.shift(traffic.ends(1, 2), "created_at", 100.0)

    latencies = traffic.versions_seen()[0].latencies
    assert latencies.percentile_ms(0.5) == pytest.approx(100, rel=0.02)
    assert latencies.percentile_ms(0.99) == pytest.approx(10_000, rel=0.02)


def test_accuracy_is_of_the_feedback_since_the_split_began(traffic: Traffic) -> None:
    traffic.split()
    traffic.judge(traffic.ends(1, 3), is_correct=True)
    traffic.judge(traffic.ends(1, 1), is_correct=False)
    older = traffic.ends(1, 5)
    traffic.shift(older, "created_at", 7_200.0)
    traffic.judge(older, is_correct=False)

    assert traffic.versions_seen()[0].quality == Proportion(3, 4)
    assert traffic.versions_seen(LONG_AGO)[0].quality == Proportion(3, 9)


def test_numbers_are_judged_by_their_error(traffic: Traffic) -> None:
    traffic.split()
    for error in (1.0, 2.0):
        traffic.judge(traffic.ends(1), error=error)

    assert traffic.versions_seen()[0].quality == Mean(2, 3.0, 5.0)


def test_a_better_version_is_said_to_be(traffic: Traffic) -> None:
    traffic.split()
    traffic.judge(traffic.ends(1, 40), is_correct=False)
    traffic.judge(traffic.ends(2, 40), is_correct=True)

    [judged] = traffic.compare().judged
    assert (judged.number, judged.verdict, judged.difference) == (2, Verdict.BETTER, 1.0)


def test_a_split_that_is_over_is_still_compared(traffic: Traffic) -> None:
    traffic.split()
    traffic.ends(1, 3)
    traffic.ends(2, 3)
    traffic.session.execute(
        text("UPDATE models SET champion_id = :id WHERE name = :name"),
        {"id": traffic.versions[2].model_version_id, "name": NAME},
    )
    traffic.session.expire_all()

    found = traffic.compare()
    assert (found.policy, found.champion and found.champion.number) == (TrafficPolicy.NONE, 1)
    assert [each.number for each in found.challengers] == [2]


@pytest.mark.parametrize(
    ("sticky", "changes", "unit"),
    [
        (StickyKey.NONE, {}, "requests"),
        (StickyKey.API_KEY, {}, "api_keys"),
        (StickyKey.ITEM, {"catalog": "shop", "external_id": "42"}, "items"),
    ],
)
def test_the_shares_are_counted_in_what_is_drawn_for(
    traffic: Traffic, sticky: StickyKey, changes: dict[str, Any], unit: str
) -> None:
    traffic.split(sticky=sticky)
    traffic.ends(1, 3, **changes)

    found = traffic.compare().sample_ratio
    assert (found.unit, found.counts) == (unit, {1: 3 if unit == "requests" else 1, 2: 0})


def test_shares_that_are_off_are_told(traffic: Traffic) -> None:
    traffic.split()
    traffic.ends(1, 60)

    assert traffic.compare().sample_ratio.is_off


def test_what_was_assigned_before_all_heard_of_the_shares_is_not_held_against_them(traffic: Traffic) -> None:
    traffic.split()
    traffic.ends(1, 60)
    # Two seconds before the predictions came in.
    traffic.session.execute(text("UPDATE traffic SET updated_at = now() - interval '92 s'"))
    traffic.session.expire_all()

    assert not traffic.compare().sample_ratio.is_off


@pytest.mark.parametrize("changes", [{"sticky": StickyKey.HEADER}, {"policy": TrafficPolicy.LEARNED}])
def test_shares_that_nobody_knows_are_not_checked(traffic: Traffic, changes: dict[str, Any]) -> None:
    traffic.split(**changes)

    found = traffic.compare().sample_ratio
    assert (found.is_checked, bool(found.reason)) == (False, True)


def test_a_shadow_is_compared_with_the_answers(traffic: Traffic) -> None:
    traffic.split(shadows=(3,))
    answered = traffic.ends(1, 4)
    for each in answered[:3]:
        traffic.ends(3, 1, shadow_of=each, assignment_probability=None)
    traffic.ends(3, 1, failed=True, shadow_of=answered[3], assignment_probability=None)

    [shadow] = traffic.compare().shadows
    assert (shadow.number, shadow.pairs, shadow.failures) == (3, 4, Proportion(1, 4))
    assert shadow.agreement == Proportion(3, 3)
    assert shadow.percentiles_ms["shadow_p50_ms"] == pytest.approx(3.0)


def test_shadows_and_backtests_are_no_traffic(traffic: Traffic) -> None:
    answered = traffic.ends(1)
    traffic.ends(2, 5, shadow_of=answered[0])
    traffic.ends(3, 5, backtest_id=1)
    traffic.shift(answered, "finished_at", 10.0)
    traffic.session.execute(text("UPDATE predictions SET finished_at = now() - interval '10 seconds'"))

    live = model_stats(traffic.session.connection())
    traffic.sum_up()

    assert [(each["version"], each["succeeded"]) for each in live] == [(1, 1)]
    assert model_stats(traffic.session.connection()) == live


def test_sums_are_forgotten_with_their_predictions(traffic: Traffic) -> None:
    traffic.split()
    traffic.ends(1, 3)
    traffic.sum_up()

    forget_minutes(traffic.session.connection(), older_than=timedelta(hours=1))
    assert _minutes(traffic.session) == 3
    forget_minutes(traffic.session.connection(), older_than=timedelta(seconds=1))
    assert _minutes(traffic.session) == 0


def _minutes(session: Session) -> int:
    return int(session.execute(text("SELECT coalesce(sum(predictions), 0) FROM traffic_minutes")).scalar_one())
