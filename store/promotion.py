"""Decisions on a model's versions: which answers, which challenges it, which shall not answer any more."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from schemas.enums import DecisionAction
from store.decisions import NO_FIGURES, record_decision
from store.errors import NoEarlierChampionError, VersionStateError
from store.models import get_version, get_version_by_id, lock_model
from store.switching import Decided, call_off, check_may_answer, earlier_champions, may_answer, switch_champion
from store.tables.model_version import ModelVersion


def promote(
    session: Session, *, name: str, number: int, actor: str, reason: str, figures: Mapping[str, Any] = NO_FIGURES
) -> ModelVersion:
    """Decide that a version becomes the champion, the one that answers when a request names none.

    It answers at once where the live workers hold it; else they load it first, beside the champion, which goes on
    answering until then and for good if they cannot: see `store.switching`.

    Args:
        session: The decision is committed with it.
        name: Of the model.
        number: Of the version; promoting the champion again changes nothing.
        actor: Who decides: name of an API key, or of a part of this system.
        reason: For people.
        figures: What it was decided by.

    Raises:
        UnknownModelError: There is no such model.
        UnknownVersionError: The model has no such version.
        VersionStateError: It failed or was archived.
    """
    model = lock_model(session, name)
    version = get_version(session, name, number)
    check_may_answer(version)
    if version.id != (model.upcoming_id or model.champion_id):
        switch_champion(session, model, version, DecisionAction.PROMOTE, Decided(actor, reason, figures))
    return version


def rollback(
    session: Session, *, name: str, actor: str, reason: str, figures: Mapping[str, Any] = NO_FIGURES
) -> ModelVersion:
    """Go back to the champion before this one; while a promotion is under way, call that off.

    Champions that failed or were archived meanwhile are passed over.

    Returns:
        The version that answers, or will as soon as the workers hold it again.

    Raises:
        UnknownModelError: There is no such model.
        NoEarlierChampionError: No version answered before this one, or none of them may any more.
    """
    model = lock_model(session, name)
    decided = Decided(actor, reason, figures)
    if model.upcoming is not None and model.champion is not None:
        call_off(session, model, decided)
        return model.champion
    for version_id in earlier_champions(session, model.id):
        version = get_version_by_id(session, version_id)
        if may_answer(version) and version_id != model.champion_id:
            switch_champion(session, model, version, DecisionAction.ROLLBACK, decided)
            return version
    raise NoEarlierChampionError(
        f"model {name!r} had no champion before this one that may answer; promote a version by its number"
    )


def set_challenger(
    session: Session, *, name: str, number: int | None, actor: str, reason: str, figures: Mapping[str, Any] = NO_FIGURES
) -> ModelVersion | None:
    """Make a version the challenger, which workers keep loaded beside the champion; None leaves the model without.

    Raises:
        UnknownModelError: There is no such model.
        UnknownVersionError: The model has no such version.
        VersionStateError: It failed, was archived, or is the champion.
    """
    model = lock_model(session, name)
    version = None if number is None else get_version(session, name, number)
    if version is not None:
        check_may_answer(version)
        if version.id == model.champion_id:
            raise VersionStateError(f"version {number} of {name!r} is the champion; it cannot challenge itself")
    before = model.challenger
    if before is version:
        return version
    model.challenger = version
    record_decision(
        session,
        model_id=model.id,
        version_id=None if version is None else version.id,
        action=DecisionAction.CHALLENGE,
        actor=actor,
        reason=reason,
        figures={"before": None if before is None else before.number, **figures},
    )
    return version


def archive(
    session: Session, *, version: ModelVersion, reason: str, actor: str, figures: Mapping[str, Any] = NO_FIGURES
) -> None:
    """Decide that a version shall not answer. Archiving it again changes nothing.

    Raises:
        VersionStateError: It is the champion, or becomes it; promote another first.
    """
    model = lock_model(session, version.model.name)
    if version.id in (model.champion_id, model.upcoming_id):
        raise VersionStateError(
            f"version {version.number} of {model.name!r} answers; promote another before it is archived"
        )
    if version.archived_at is not None:
        return
    if version.id == model.challenger_id:
        model.challenger = None
    version.archived_at = session.execute(select(func.now())).scalar_one()
    version.archive_reason = reason
    record_decision(
        session,
        model_id=model.id,
        version_id=version.id,
        action=DecisionAction.ARCHIVE,
        actor=actor,
        reason=reason,
        figures=figures,
    )
