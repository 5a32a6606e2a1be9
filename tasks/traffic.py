"""Keeps split traffic: lets learned splits learn, stops a split in which a version is clearly worse.

Reads and computes outside of any lock, then writes only if nobody has changed the split meanwhile. No request waits for
it, and none computes any of this: web processes read the outcome with the model, once a second.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import structlog
from sqlalchemy import Engine as Database
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from schemas.enums import DecisionAction, TrafficPolicy
from schemas.traffic import TrafficPlan
from store.comparison import measure, read_quality
from store.database import open_session
from store.guards import Breach, find_breach
from store.statistics.sequences import Estimate, Mean, Proportion
from store.statistics.thompson import BetaPosterior, Posterior, choice_probabilities, learn_from_errors
from store.tables.model import Model
from store.tables.model_version import ModelVersion
from store.tables.traffic import Traffic
from store.traffic import arm_versions, end_split, list_split_models, lock_traffic, plan_of, store_arms

log = structlog.get_logger()

#: Who decides here, as the log of decisions names it.
ACTOR = "beat"

# A split is looked at again after so many times as long as the look took: keeping it costs a tenth of a core at most.
REST = 9.0

#: Versions are loaded with their first requests, which wait for it: latency is judged by what ended after that.
WARM_UP = timedelta(seconds=30)

Learned = Mapping[int, tuple[float, Mapping[str, Any]]]


@dataclass(frozen=True, slots=True)
class Look:
    """What was found of a split, and as of which state of it."""

    updated_at: datetime
    is_over: bool = False
    breach: Breach | None = None
    learned: Learned | None = None


class TrafficKeeper:
    """Keeps the splits of all models; any number of processes may.

    Args:
        database: Where they are.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._due: dict[int, float] = {}

    def keep(self) -> None:
        """Look at every split that is due."""
        with open_session(self._database) as session:
            model_ids = list_split_models(session)
        self._due = {model_id: self._due.get(model_id, 0.0) for model_id in model_ids}
        for model_id in model_ids:
            started = time.monotonic()
            if started >= self._due[model_id]:
                self._keep(model_id)
                ended = time.monotonic()
                self._due[model_id] = ended + REST * (ended - started)

    def _keep(self, model_id: int) -> None:
        with open_session(self._database) as session:
            look = look_at(session, model_id)
        if look is not None:
            with open_session(self._database) as session:
                act_on(session, model_id, look)


def look_at(session: Session, model_id: int) -> Look | None:
    """Find out what is to be done about a split; None when it is gone."""
    row = session.get(Traffic, model_id)
    if row is None or row.policy == TrafficPolicy.NONE:
        return None
    if session.scalar(select(Model.champion_id).where(Model.id == model_id)) != row.champion_id:
        return Look(row.updated_at, is_over=True)
    plan, versions = plan_of(row), arm_versions(session, row)
    breach = _look_for_breach(session, row, plan, versions)
    learned = None
    if plan.policy is TrafficPolicy.LEARNED:
        learned = learn(plan, versions, _recent_quality(session, row, plan, versions))
    return Look(row.updated_at, breach=breach, learned=learned)


def act_on(session: Session, model_id: int, look: Look) -> None:
    """Do what was found to be done, unless the split was changed meanwhile."""
    row = lock_traffic(session, model_id)
    if row is None or row.updated_at != look.updated_at or row.policy == TrafficPolicy.NONE:
        return
    if look.is_over:
        reason = "the split ended with its champion: another version answers now"
        end_split(session, row, action=DecisionAction.TRAFFIC, actor=ACTOR, reason=reason)
        log.info("split_over", model_id=model_id)
    elif look.breach is not None:
        _stop(session, row, look.breach)
    elif look.learned is not None:
        store_arms(session, row, look.learned)


def learn(plan: TrafficPlan, versions: Sequence[ModelVersion], seen: Mapping[int, Estimate]) -> Learned:
    """Return, by version id, with which probability to choose it and what is known of it."""
    posteriors = posteriors_of([seen.get(version.id) for version in versions])
    probabilities = choice_probabilities(posteriors, plan.learning.floor)
    return {
        version.id: (probability, _present(posterior, seen.get(version.id)))
        for version, probability, posterior in zip(versions, probabilities, posteriors, strict=True)
    }


def posteriors_of(seen: Sequence[Estimate | None]) -> Sequence[Posterior]:
    """Learn what can be known of versions; those without feedback are told apart by nothing."""
    if any(isinstance(each, Mean) for each in seen):
        return learn_from_errors([each if isinstance(each, Mean) else Mean(0, 0.0, 0.0) for each in seen])
    return [BetaPosterior.of(each if isinstance(each, Proportion) else Proportion(0, 0)) for each in seen]


def _look_for_breach(
    session: Session, row: Traffic, plan: TrafficPlan, versions: Sequence[ModelVersion]
) -> Breach | None:
    always = [version.id for version in versions]
    served = measure(session.connection(), versions, row.started_at, always=always)
    warm = measure(session.connection(), versions, row.started_at + WARM_UP, always=always)
    judged = {each: replace(served[each], latencies=warm[each].latencies) for each in served}
    champion = None if row.champion_id is None else judged.pop(row.champion_id, None)
    return None if champion is None else find_breach(plan.guards, champion, list(judged.values()))


def _recent_quality(
    session: Session, row: Traffic, plan: TrafficPlan, versions: Sequence[ModelVersion]
) -> dict[int, Estimate]:
    """Read the feedback within the window, however late it came."""
    now = session.execute(select(func.now())).scalar_one()
    since = max(row.started_at, now - timedelta(seconds=plan.learning.window_s))
    return read_quality(session.connection(), [version.id for version in versions], since)


def _present(posterior: Posterior, seen: Estimate | None) -> dict[str, Any]:
    return {
        "mean": posterior.mean,
        "deviation": posterior.deviation,
        "feedback": 0 if seen is None else seen.trials,
    }


def _stop(session: Session, row: Traffic, breach: Breach) -> None:
    end_split(
        session,
        row,
        action=DecisionAction.STOP,
        actor=ACTOR,
        reason=breach.reason,
        version_id=breach.version_id,
        figures=breach.figures,
    )
    log.warning("split_stopped", model_id=row.model_id, reason=breach.reason, **breach.figures)
