"""`store.traffic`: splits that are set, read, refused, and end by themselves."""

from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from schemas.enums import DecisionAction, StickyKey, TrafficPolicy
from schemas.traffic import TrafficPlan
from store.decisions import list_decisions
from store.errors import TrafficConflictError, TrafficError, UnknownModelError
from store.models import get_version, resolve
from store.promotion import archive, promote
from store.tables.traffic import Traffic, TrafficArm
from store.traffic import Split, clear_traffic, read_split, read_traffic, set_traffic
from store.version_loading import list_wanted
from tests.factories import add_version

NAME = "split"

FIXED = TrafficPlan(policy=TrafficPolicy.FIXED, weights={1: 95, 2: 5})
LEARNED = TrafficPlan(policy=TrafficPolicy.LEARNED, weights={1: 3, 2: 1})


pytestmark = pytest.mark.usefixtures("model")


@pytest.fixture
def model(session: Session) -> None:
    """A model of three versions, the first of which is champion."""
    for number in (1, 2, 3):
        add_version(session, NAME, promoted=number == 1)


def put(session: Session, plan: TrafficPlan = FIXED, *, name: str = NAME, reason: str = "") -> None:
    set_traffic(session, name=name, plan=plan, actor="tests", reason=reason)


def split(session: Session) -> Split | None:
    return read_split(session, resolve(session, NAME))


def shares(session: Session) -> dict[int, float]:
    found = split(session)
    return {} if found is None else {arm.version.number: arm.probability for arm in found.arms}


def wanted(session: Session) -> list[str]:
    return [each.key for each in list_wanted(session)]


def decisions(session: Session) -> list[str]:
    model_id = resolve(session, NAME).model_id
    return [each.action for each in list_decisions(session, model_id=model_id, limit=20)]


def test_a_model_without_a_split_is_answered_by_its_champion(session: Session) -> None:
    assert split(session) is None
    assert read_traffic(session, NAME).plan == TrafficPlan()


def test_shares_are_in_any_unit(session: Session) -> None:
    put(session)

    assert shares(session) == {1: 0.95, 2: 0.05}
    assert read_traffic(session, NAME).arms == ((1, 0.95, None), (2, 0.05, None))


def test_a_share_of_nothing_is_never_chosen(session: Session) -> None:
    put(session, TrafficPlan(policy=TrafficPolicy.FIXED, weights={1: 1, 2: 0}))

    assert shares(session) == {1: 1.0}


def test_workers_hold_what_shares_the_traffic_before_a_request_asks_for_it(session: Session) -> None:
    put(session, TrafficPlan(policy=TrafficPolicy.FIXED, weights={1: 95, 2: 5}, shadows=(3,)))

    assert wanted(session) == [f"{NAME}/2", f"{NAME}/3"]


def test_workers_hold_nothing_for_a_split_that_is_over(session: Session) -> None:
    put(session)
    archive(session, version=get_version(session, NAME, 2), reason="worse", actor="tests")
    assert wanted(session) == []

    put(session, TrafficPlan(policy=TrafficPolicy.FIXED, weights={1: 95, 3: 5}))
    promote(session, name=NAME, number=3, actor="tests", reason="better")
    assert wanted(session) == []


def test_shadows_need_no_split(session: Session) -> None:
    put(session, TrafficPlan(shadows=(3,)))
    found = split(session)

    assert found is not None
    assert (found.arms, [shadow.number for shadow in found.shadows]) == ((), [3])


def test_all_of_a_plan_is_kept(session: Session) -> None:
    plan = TrafficPlan.load(FIXED.dump() | {"shadows": [3], "sticky": "item", "guards": {"latency_ratio": None}})
    put(session, plan)

    assert read_traffic(session, NAME).plan == plan
    found = split(session)
    assert found is not None
    assert found.sticky is StickyKey.ITEM


def test_a_learned_split_begins_with_the_given_shares(session: Session) -> None:
    put(session, LEARNED)

    assert shares(session) == {1: 0.75, 2: 0.25}


def test_every_change_is_a_decision(session: Session) -> None:
    put(session, reason="try it")
    clear_traffic(session, name=NAME, actor="tests")

    last, first = list_decisions(session, model_id=resolve(session, NAME).model_id, limit=2)
    assert (first.action, first.actor, first.reason) == (DecisionAction.TRAFFIC, "tests", "try it")
    assert (first.figures["before"], first.figures["after"]) == (None, FIXED.dump())
    assert (last.figures["before"], last.figures["after"]) == (FIXED.dump(), None)


def test_the_same_split_again_decides_nothing(session: Session) -> None:
    put(session)
    put(session)

    assert decisions(session).count(DecisionAction.TRAFFIC) == 1


def test_ending_a_split_twice_decides_once(session: Session) -> None:
    put(session)
    for _ in range(2):
        clear_traffic(session, name=NAME, actor="tests")

    assert split(session) is None
    assert decisions(session).count(DecisionAction.TRAFFIC) == 2


def test_a_comparison_goes_on_when_only_a_shadow_comes_in(session: Session) -> None:
    put(session)
    _age(session)
    started_at = read_traffic(session, NAME).started_at

    put(session, replace(FIXED, shadows=(3,)))

    state = read_traffic(session, NAME)
    assert state.started_at == started_at
    assert state.updated_at != started_at


@pytest.mark.parametrize(
    ("policy", "weights"),
    [
        (TrafficPolicy.FIXED, {1: 50, 2: 50}),
        (TrafficPolicy.FIXED, {1: 50, 3: 50}),
        (TrafficPolicy.LEARNED, {1: 95, 2: 5}),
    ],
)
def test_a_comparison_begins_anew_with_other_versions_shares_or_policy(
    session: Session, policy: TrafficPolicy, weights: dict[int, float]
) -> None:
    put(session)
    _age(session)
    started_at = read_traffic(session, NAME).started_at

    put(session, TrafficPlan(policy=policy, weights=weights))

    assert read_traffic(session, NAME).started_at != started_at


def test_a_promotion_ends_the_split_at_once(session: Session) -> None:
    put(session, TrafficPlan.load(FIXED.dump() | {"shadows": [2, 3], "weights": {"1": 1}}))
    promote(session, name=NAME, number=2, actor="tests", reason="better")
    found = split(session)

    assert found is not None
    assert found.arms == ()
    # The new champion is no shadow of itself.
    assert [shadow.number for shadow in found.shadows] == [3]


def test_an_archived_version_leaves_its_share_to_the_others(session: Session) -> None:
    put(session)
    archive(session, version=get_version(session, NAME, 2), reason="old", actor="tests")

    assert shares(session) == {1: 1.0}


@pytest.mark.parametrize(
    ("plan", "field", "message"),
    [
        ({"weights": {}}, "weights", "the shares of 'split' sum up to nothing"),
        ({"weights": {"1": 0, "2": 0}}, "weights", "sum up to nothing"),
        ({"weights": {"1": 2, "2": -1}}, "weights", "the share of version 2 is -1; shares are 0 or more"),
        ({"weights": {"1": 1, "2": float("inf")}}, "weights", "the share of version 2 is inf"),
        ({"weights": {"1": 1, "9": 1}}, "weights", "has no version 9"),
        ({"weights": {"2": 1}}, "weights", "the champion, version 1, has no share"),
        ({"weights": {"1": 0, "2": 1}}, "weights", "the champion, version 1, has no share"),
        ({"policy": "none"}, "weights", "the policy `none` shares nothing"),
        ({"shadows": [2]}, "shadows", "version 2 has a share of the answers; a shadow never answers"),
        ({"policy": "none", "weights": {}, "shadows": [1]}, "shadows", "version 1 is the champion"),
        ({"shadows": [3, 3]}, "shadows", "named twice"),
        ({"shadows": [9]}, "shadows", "has no version 9"),
    ],
)
def test_a_split_that_makes_no_sense_is_refused(
    session: Session, plan: dict[str, Any], field: str, message: str
) -> None:
    put(session)
    with pytest.raises(TrafficError, match=message) as refused:
        put(session, TrafficPlan.load(FIXED.dump() | plan))

    assert refused.value.field == field
    assert shares(session) == {1: 0.95, 2: 0.05}
    assert decisions(session).count(DecisionAction.TRAFFIC) == 1


@pytest.mark.parametrize("state", ["archived_at", "failed_at"])
@pytest.mark.parametrize("part", [{"weights": {"1": 1, "3": 1}}, {"shadows": [3]}])
def test_a_version_that_may_not_answer_takes_no_part(session: Session, state: str, part: dict[str, Any]) -> None:
    setattr(get_version(session, NAME, 3), state, func.now())
    session.flush()

    with pytest.raises(TrafficConflictError, match="version 3 of 'split'"):
        put(session, TrafficPlan.load(FIXED.dump() | part))
    assert session.scalar(select(func.count()).select_from(Traffic)) == 0


def test_a_model_without_a_champion_has_nothing_to_split(session: Session) -> None:
    add_version(session, "fresh")

    with pytest.raises(TrafficConflictError, match="no champion"):
        put(session, name="fresh")


def test_a_similarity_model_is_not_split(session: Session) -> None:
    with pytest.raises(TrafficConflictError, match="keeps its index for its champion alone"):
        put(session, TrafficPlan(policy=TrafficPolicy.FIXED, weights={1: 1}), name="fashion-similar")


@pytest.mark.parametrize("change", [put, lambda session, name: clear_traffic(session, name=name, actor="tests")])
def test_an_unknown_model_is_not_split(session: Session, change: Any) -> None:
    with pytest.raises(UnknownModelError):
        change(session, name="nobody")


def test_a_split_that_ends_leaves_nothing_behind(session: Session) -> None:
    put(session, LEARNED)
    clear_traffic(session, name=NAME, actor="tests")

    counts = [session.scalar(select(func.count()).select_from(table)) for table in (Traffic, TrafficArm)]
    assert counts == [0, 0]


def _age(session: Session) -> None:
    """Let the split have begun an hour ago: within a test's transaction time stands still."""
    session.execute(
        Traffic.__table__.update().values(  # type: ignore[attr-defined]
            started_at=func.now() - func.make_interval(0, 0, 0, 0, 1),
            updated_at=func.now() - func.make_interval(0, 0, 0, 0, 1),
        )
    )
    session.expire_all()
