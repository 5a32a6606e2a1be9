"""How a model's traffic is split: set by people, read by every web process, ended by a promotion or a guard.

A split is an experiment against one champion. Once another version is champion, by promotion or rollback, the split
counts for nothing and the new champion answers alone; nobody has to think of ending it first. Versions that fail or are
archived meanwhile leave it, and their shares go to those that stay.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session, joinedload

from schemas.enums import DecisionAction, StickyKey, TrafficPolicy
from schemas.traffic import TrafficPlan
from store.decisions import NO_FIGURES, record_decision
from store.models import ServedVersion, get_model, lock_model, served
from store.switching import may_answer
from store.tables.model import Model
from store.tables.model_version import ModelVersion
from store.tables.traffic import Traffic, TrafficArm
from store.traffic_checks import check_plan


@dataclass(frozen=True, slots=True)
class Arm:
    """A version that answers a share of the requests; `probability` is above 0."""

    version: ServedVersion
    probability: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Split:
    """What a request needs to know of its model's split. Immutable, so it may be cached.

    Attributes:
        model: Its name.
        sticky: What makes two requests go to the same version.
        arms: The versions that answer, in the order of their numbers; none: the champion alone.
        shadows: The versions that compute as well and never answer.
    """

    model: str
    sticky: StickyKey
    arms: tuple[Arm, ...]
    shadows: tuple[ServedVersion, ...]


@dataclass(frozen=True, slots=True)
class TrafficState:
    """A model's split as it stands, for people; the times are None where none was ever set."""

    model: str
    champion: int | None
    plan: TrafficPlan
    arms: tuple[tuple[int, float, Mapping[str, Any] | None], ...] = ()
    started_at: datetime | None = None
    updated_at: datetime | None = None


def read_traffic(session: Session, name: str) -> TrafficState:
    """Return how a model's traffic is split.

    Raises:
        UnknownModelError: There is no such model.
    """
    model = get_model(session, name)
    row = session.get(Traffic, model.id, populate_existing=True)
    number = None if model.champion is None else model.champion.number
    if row is None:
        return TrafficState(model.name, number, TrafficPlan())
    posteriors = {arm.model_version_id: arm.posterior for arm in _learned_arms(session, row)}
    arms = tuple(
        (version.number, probability, posteriors.get(version.id) or None)
        for version, probability in _arms(session, row, model.champion_id)
    )
    return TrafficState(model.name, number, plan_of(row), arms, row.started_at, row.updated_at)


def read_split(session: Session, champion: ServedVersion) -> Split | None:
    """Return how the traffic of a champion's model is split; None where it answers everything alone."""
    row = session.get(Traffic, champion.model_id)
    if row is None:
        return None
    arms = tuple(
        Arm(served(version), probability)
        for version, probability in _arms(session, row, champion.model_version_id)
        if probability > 0.0
    )
    shadows = tuple(
        served(version)
        for version in _versions(session, row.model_id, row.shadows)
        if version.id != champion.model_version_id and may_answer(version)
    )
    if not arms and not shadows:
        return None
    return Split(model=champion.model, sticky=StickyKey(row.sticky), arms=arms, shadows=shadows)


def set_traffic(session: Session, *, name: str, plan: TrafficPlan, actor: str, reason: str = "") -> None:
    """Split a model's traffic. Web processes follow within seconds; the same plan again changes nothing.

    A comparison begins anew with other versions, shares, another policy or another champion: what was gathered under
    shares that follow the answers, or at another time of the model's life, must not be added to what comes now.

    Args:
        session: The decision is committed with it.
        name: Of the model.
        plan: How.
        actor: Who decides.
        reason: For people.

    Raises:
        UnknownModelError: There is no such model.
        TrafficError: The plan makes no sense.
        TrafficConflictError: One of its versions, or the model, cannot take part as it stands.
    """
    model = lock_model(session, name)
    check_plan(model, plan, _versions(session, model.id, [*plan.weights, *plan.shadows]))
    row = session.get(Traffic, model.id, populate_existing=True)
    before = None if row is None else plan_of(row)
    is_same_champion = row is not None and row.champion_id == model.champion_id
    if is_same_champion and before == plan:
        return
    goes_on = is_same_champion and before is not None and (before.policy, before.weights) == (plan.policy, plan.weights)
    row = row or Traffic(model_id=model.id)
    _write(session, row, plan, model.champion_id, goes_on=goes_on)
    _reset_arms(session, row, plan)
    record_decision(
        session,
        model_id=model.id,
        action=DecisionAction.TRAFFIC,
        actor=actor,
        reason=reason or describe(plan),
        figures={"before": None if before is None else before.dump(), "after": plan.dump()},
    )


def clear_traffic(session: Session, *, name: str, actor: str, reason: str = "") -> None:
    """Let the champion answer alone again, without shadows. Doing it twice changes nothing.

    Raises:
        UnknownModelError: There is no such model.
    """
    model = lock_model(session, name)
    row = session.get(Traffic, model.id, populate_existing=True)
    if row is None:
        return
    before = plan_of(row)
    session.delete(row)
    record_decision(
        session,
        model_id=model.id,
        action=DecisionAction.TRAFFIC,
        actor=actor,
        reason=reason or "the champion answers alone",
        figures={"before": before.dump(), "after": None},
    )


def end_split(
    session: Session,
    row: Traffic,
    *,
    action: DecisionAction,
    actor: str,
    reason: str,
    version_id: int | None = None,
    figures: Mapping[str, Any] = NO_FIGURES,
) -> None:
    """Let the champion answer alone; shadows go on. The caller holds the row's lock."""
    before = plan_of(row)
    row.policy = str(TrafficPolicy.NONE)
    row.weights = {}
    row.updated_at = session.execute(select(func.now())).scalar_one()
    session.execute(delete(TrafficArm).where(TrafficArm.model_id == row.model_id))
    record_decision(
        session,
        model_id=row.model_id,
        version_id=version_id,
        action=action,
        actor=actor,
        reason=reason,
        figures={"before": before.dump(), **figures},
    )


def store_arms(session: Session, row: Traffic, learned: Mapping[int, tuple[float, Mapping[str, Any]]]) -> None:
    """Store what was learned: by version id, the probability to choose it and the posterior. Holds the row's lock."""
    for arm in _learned_arms(session, row):
        if arm.model_version_id in learned:
            arm.probability, posterior = learned[arm.model_version_id]
            arm.posterior = dict(posterior)
            arm.refreshed_at = func.now()
    session.flush()


def plan_of(row: Traffic) -> TrafficPlan:
    """Read the plan that a row holds."""
    columns = ("policy", "weights", "shadows", "sticky", "guards", "learning")
    return TrafficPlan.load({column: getattr(row, column) for column in columns})


def list_split_models(session: Session) -> list[int]:
    """List the ids of the models whose traffic is split now."""
    statement = select(Traffic.model_id).where(Traffic.policy != str(TrafficPolicy.NONE))
    return list(session.scalars(statement.order_by(Traffic.model_id)))


def lock_traffic(session: Session, model_id: int) -> Traffic | None:
    """Return the split of a model, which nobody else changes until the transaction ends; None where there is none.

    The model first, as everybody does who changes it, so that two never wait for each other.
    """
    session.scalar(select(Model.id).where(Model.id == model_id).with_for_update())
    return session.get(Traffic, model_id, populate_existing=True)


def arm_versions(session: Session, row: Traffic) -> list[ModelVersion]:
    """List the versions that share the traffic, the champion first."""
    champion_id = row.champion_id
    versions = [version for version, _ in _arms(session, row, champion_id)]
    return sorted(versions, key=lambda version: (version.id != champion_id, version.number))


def describe(plan: TrafficPlan) -> str:
    """Say a plan in a few words."""
    shares = ", ".join(f"{number}={weight:g}" for number, weight in sorted(plan.weights.items()))
    words = f"{plan.policy} {shares}".strip() if plan.policy is not TrafficPolicy.NONE else "the champion answers"
    return f"{words}; shadows {', '.join(map(str, plan.shadows))}" if plan.shadows else words


def _write(session: Session, row: Traffic, plan: TrafficPlan, champion_id: int | None, *, goes_on: bool) -> None:
    """Write a plan into its row; its comparison begins now, unless it goes on."""
    now = session.execute(select(func.now())).scalar_one()
    for column, value in plan.dump().items():
        setattr(row, column, value)
    row.champion_id = champion_id
    row.started_at = row.started_at if goes_on else now
    row.updated_at = now
    session.add(row)
    session.flush()


def _reset_arms(session: Session, row: Traffic, plan: TrafficPlan) -> None:
    """Begin to learn, with the given shares until the first refresh."""
    session.execute(delete(TrafficArm).where(TrafficArm.model_id == row.model_id))
    if plan.policy is not TrafficPolicy.LEARNED:
        return
    total = sum(plan.weights.values())
    for version in _versions(session, row.model_id, plan.weights):
        probability = plan.weights[version.number] / total
        session.add(
            TrafficArm(model_id=row.model_id, model_version_id=version.id, probability=probability, posterior={})
        )
    session.flush()


def _arms(session: Session, row: Traffic, champion_id: int | None) -> list[tuple[ModelVersion, float]]:
    """List the versions that answer now, with their probabilities in sum 1; none when the split is over."""
    if row.policy == TrafficPolicy.NONE or row.champion_id != champion_id:
        return []
    learned = {arm.model_version_id: arm.probability for arm in _learned_arms(session, row)}
    found = [
        (version, learned.get(version.id, float(row.weights[str(version.number)])))
        for version in _versions(session, row.model_id, map(int, row.weights))
        if may_answer(version)
    ]
    total = sum(share for _, share in found)
    return [(version, share / total) for version, share in found] if total > 0.0 else []


def _learned_arms(session: Session, row: Traffic) -> list[TrafficArm]:
    statement = select(TrafficArm).where(TrafficArm.model_id == row.model_id)
    return list(session.scalars(statement.execution_options(populate_existing=True)))


def _versions(session: Session, model_id: int, numbers: Iterable[int]) -> list[ModelVersion]:
    """Read versions of a model by number, in the order of their numbers; unknown ones are missing."""
    statement = select(ModelVersion).where(ModelVersion.model_id == model_id, ModelVersion.number.in_(list(numbers)))
    return list(session.scalars(statement.options(joinedload(ModelVersion.model)).order_by(ModelVersion.number)))
