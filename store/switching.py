"""From one champion to the next without a request that fails: workers load it first, then it answers.

A promotion makes a version *upcoming*. Live workers load what is upcoming beside what they serve and say so with their
heartbeat, or say why they cannot. When all of them have spoken, or one holds it and the others have had their time, the
version becomes champion; when none can load it, or one dies of it, it has failed, and the champion never changed. The
workers settle that among themselves: each looks while a promotion is under way. docs/decisions/0008-promotion.md says
why.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from schemas.enums import Alias, DecisionAction
from store.decisions import SYSTEM_ACTOR, record_decision
from store.errors import VersionStateError
from store.tables.decision import Decision
from store.tables.model import Model
from store.tables.model_version import ModelVersion
from store.version_loading import Verdict, ask_workers

#: When one worker holds a version, others have so long before it answers without them: they load it with its first row.
GRACE = timedelta(seconds=1)

#: A version that no worker holds by then is given up. Long enough for gigabytes from a distant object store.
GIVE_UP = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Decided:
    """Who decides, why, and by which figures."""

    actor: str
    reason: str
    figures: Mapping[str, Any] = field(default_factory=dict)


def may_answer(version: ModelVersion) -> bool:
    """Whether a version may get an alias."""
    return version.failed_at is None and version.archived_at is None


def check_may_answer(version: ModelVersion) -> None:
    """Check that a version may get an alias.

    Raises:
        VersionStateError: It failed or was archived.
    """
    name = f"version {version.number} of {version.model.name!r}"
    if version.failed_at is not None:
        raise VersionStateError(f"{name} failed and cannot answer: {version.failure}; upload or train another")
    if version.archived_at is not None:
        raise VersionStateError(f"{name} is archived and does not answer any more: {version.archive_reason}")


def switch_champion(
    session: Session, model: Model, version: ModelVersion, action: DecisionAction, decided: Decided
) -> None:
    """Decide who answers next. The caller holds the model's lock."""
    if model.upcoming is not None:
        call_off(session, model, decided)
    before = model.champion
    if before is version:
        return
    figures = {"before": None if before is None else before.number, **decided.figures}
    _record(session, model, version, action, Decided(decided.actor, decided.reason, figures))
    if before is None or ask_workers(session, version).all_hold:
        _become_champion(model, version)
        return
    model.upcoming = version
    model.upcoming_since = session.execute(select(func.now())).scalar_one()


def call_off(session: Session, model: Model, decided: Decided) -> None:
    """Take back a promotion before its version answered."""
    version = model.upcoming
    assert version is not None, "the caller looked"
    _end_upcoming(model)
    _record(session, model, version, DecisionAction.CALL_OFF, decided)


def earlier_champions(session: Session, model_id: int) -> Sequence[int]:
    """List the ids of the versions that answered before the champion, the last one first.

    A promotion adds to them and a rollback takes the last away; what was called off, or failed, never happened.
    """
    actions = (DecisionAction.PROMOTE, DecisionAction.ROLLBACK, DecisionAction.CALL_OFF, DecisionAction.LOAD_FAILED)
    statement = select(Decision.action, Decision.model_version_id).where(
        Decision.model_id == model_id,
        Decision.action.in_([str(action) for action in actions]),
        or_(
            Decision.action != str(DecisionAction.LOAD_FAILED), Decision.figures["alias"].astext == str(Alias.CHAMPION)
        ),
    )
    answered: list[int] = []
    before = answered
    for action, version_id in session.execute(statement.order_by(Decision.id)):
        assert version_id is not None, "each of these is about a version"
        if action in (DecisionAction.CALL_OFF, DecisionAction.LOAD_FAILED):
            answered = before
            continue
        before = answered
        if action == DecisionAction.ROLLBACK:
            # Those that may not answer any more were passed over.
            answered = answered[: _last_index(answered[:-1], version_id)]
        answered = [*answered, version_id]
    return answered[-2::-1]


def settle(session: Session) -> None:
    """Look what became of every promotion under way and of every challenger, and draw the consequence."""
    wanted = or_(Model.upcoming_id.is_not(None), Model.challenger_id.is_not(None))
    # Another process that settles the same model at this moment does it as well as we would.
    models = session.scalars(select(Model).where(wanted).with_for_update(skip_locked=True)).all()
    now = session.execute(select(func.now())).scalar_one()
    for model in models:
        if model.upcoming is not None:
            _settle_upcoming(session, model, model.upcoming, now)
        if model.challenger is not None:
            _settle_challenger(session, model, model.challenger, now)


def _settle_upcoming(session: Session, model: Model, version: ModelVersion, now: datetime) -> None:
    assert model.upcoming_since is not None, "set together with the version"
    age = now - model.upcoming_since
    verdict = ask_workers(session, version, model.upcoming_since)
    if verdict.holders and (verdict.all_spoke or age >= GRACE):
        _become_champion(model, version)
    elif verdict.failed:
        _end_upcoming(model)
        _fail(session, model, version, verdict, now, alias=Alias.CHAMPION)
    elif age >= GIVE_UP:
        # Not the version's fault, as far as anybody knows: it may be promoted again.
        _end_upcoming(model)
        reason = (
            f"no worker held it after {GIVE_UP.total_seconds():.0f} s; look at GET /v1/workers and promote it again"
        )
        decided = Decided(SYSTEM_ACTOR, reason, {"alias": str(Alias.CHAMPION), "live_workers": verdict.live})
        _record(session, model, version, DecisionAction.LOAD_FAILED, decided)


def _settle_challenger(session: Session, model: Model, version: ModelVersion, now: datetime) -> None:
    verdict = ask_workers(session, version, now - GIVE_UP)
    if verdict.failed:
        model.challenger = None
        _fail(session, model, version, verdict, now, alias=Alias.CHALLENGER)


def _fail(
    session: Session, model: Model, version: ModelVersion, verdict: Verdict, now: datetime, *, alias: Alias
) -> None:
    version.failed_at = now
    version.failure = verdict.reason
    figures = {"alias": str(alias), "refusals": dict(verdict.refusals), "crashes": list(verdict.crashes)}
    _record(session, model, version, DecisionAction.LOAD_FAILED, Decided(SYSTEM_ACTOR, verdict.reason, figures))


def _become_champion(model: Model, version: ModelVersion) -> None:
    model.champion = version
    if model.challenger is version:
        model.challenger = None
    _end_upcoming(model)


def _end_upcoming(model: Model) -> None:
    model.upcoming = None
    model.upcoming_since = None


def _record(session: Session, model: Model, version: ModelVersion, action: DecisionAction, decided: Decided) -> None:
    record_decision(
        session,
        model_id=model.id,
        version_id=version.id,
        action=action,
        actor=decided.actor,
        reason=decided.reason,
        figures=decided.figures,
    )


def _last_index(values: Sequence[int], wanted: int) -> int:
    """Where a value stands for the last time; 0 where it does not."""
    return max((index for index, value in enumerate(values) if value == wanted), default=0)
