"""The model registry: names, immutable versions, and which version answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session, joinedload, selectinload

from schemas.enums import DecisionAction, Placement
from schemas.model_settings import ModelSettings
from store.decisions import NO_FIGURES, record_decision
from store.errors import (
    KindMismatchError,
    ModelSettingsError,
    NoEarlierChampionError,
    UnknownModelError,
    UnknownVersionError,
    VersionStateError,
)
from store.schedules import begin_schedule
from store.switching import Decided, call_off, check_may_answer, earlier_champions, may_answer, switch_champion
from store.tables import registry as _registry  # noqa: F401 - relationships name tables that nothing else here imports
from store.tables.gate_verdict import GateVerdict
from store.tables.model import Model
from store.tables.model_version import ModelVersion

#: Their answers depend on more than the input and the version.
CHANGING_KINDS = frozenset({"similarity"})

DEFAULT_SETTINGS = ModelSettings()

_VERDICT = selectinload(ModelVersion.verdict).joinedload(GateVerdict.champion)


@dataclass(frozen=True, kw_only=True, slots=True)
class ServedVersion:
    """What a request needs to know of the version that will answer it. Immutable, so it may be cached."""

    model_id: int
    model_version_id: int
    model: str
    number: int
    kind: str
    config: Mapping[str, Any]
    weights_sha256: str
    settings: ModelSettings = DEFAULT_SETTINGS

    @property
    def input(self) -> Mapping[str, Any]:
        """What the network takes, e.g. `{"type": "image", "size": 28}`."""
        spec: Mapping[str, Any] = self.config["input"]
        return spec


def register_version(
    session: Session,
    *,
    name: str,
    kind: str,
    config: Mapping[str, Any],
    weights_sha256: str,
    weights_bytes: int,
    metrics: Mapping[str, Any],
    source: str,
    description: str = "",
    parent_id: int | None = None,
    training_id: UUID | None = None,
) -> ModelVersion:
    """Add the next version of a model, and the model itself with its first one.

    The caller has stored the weights. The new version answers only after `promote`.

    Args:
        session: Where.
        name: Of the model.
        kind: Of the model; counts with its first version only.
        config: As `ml.spec` reads it.
        weights_sha256: Hex; key in the object store.
        weights_bytes: Size of the weights.
        metrics: What was measured of it.
        source: bundled, imported, uploaded or trained.
        description: Of the model; counts with its first version only.
        parent_id: The version that it began with.
        training_id: The training that made it.
    """
    model = session.scalar(select(Model).where(Model.name == name).with_for_update())
    if model is None:
        model = Model(name=name, kind=kind, description=description)
        session.add(model)
        session.flush()
    last = session.scalar(select(func.max(ModelVersion.number)).where(ModelVersion.model_id == model.id))
    version = ModelVersion(
        model_id=model.id,
        number=(last or 0) + 1,
        config=dict(config),
        weights_sha256=weights_sha256,
        weights_bytes=weights_bytes,
        metrics=dict(metrics),
        source=source,
        parent_id=parent_id,
        training_id=training_id,
    )
    session.add(version)
    session.flush()
    return version


def check_kind(session: Session, name: str, kind: str) -> None:
    """Check that a name is free, or belongs to a model of this kind: its clients rely on the form of its answers.

    Raises:
        KindMismatchError: It belongs to a model of another kind.
    """
    found = session.scalar(select(Model.kind).where(Model.name == name))
    if found not in (None, kind):
        raise KindMismatchError(f"model {name!r} is of kind {found}, not {kind}; give this one another name")


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


def resolve(session: Session, name: str, number: int | None = None) -> ServedVersion:
    """Return the version that answers: the asked one, or the champion.

    Raises:
        UnknownModelError: There is no such model, or it has no champion yet.
        UnknownVersionError: The model has no such version.
    """
    if number is not None:
        return served(get_version(session, name, number))
    model = get_model(session, name)
    if model.champion is None:
        raise UnknownModelError(f"model {name!r} has no champion yet; promote a version or name one")
    return served(model.champion)


def served(version: ModelVersion) -> ServedVersion:
    """Take from a row what requests and workers need of it."""
    return ServedVersion(
        model_id=version.model_id,
        model_version_id=version.id,
        model=version.model.name,
        number=version.number,
        kind=version.model.kind,
        config=version.config,
        weights_sha256=version.weights_sha256,
        settings=ModelSettings.load(version.model.settings),
    )


def configure(session: Session, *, name: str, settings: ModelSettings) -> Model:
    """Change how a model is served. Web processes follow within seconds.

    Raises:
        UnknownModelError: There is no such model.
        ModelSettingsError: The model's kind cannot be served so.
    """
    model = get_model(session, name)
    if model.kind in CHANGING_KINDS and settings.cache is not None:
        raise ModelSettingsError(
            f"answers of a {model.kind} model change with its index and cannot be remembered; leave `cache` out"
        )
    if model.kind in CHANGING_KINDS and settings.placement is not Placement.QUEUE:
        raise ModelSettingsError(
            f"a {model.kind} model finds its index by the row of the request; its placement must be `queue`"
        )
    model.settings = settings.dump()
    if settings.retraining is not None:
        # From now on, and not from whenever beat comes by.
        begin_schedule(session, model.id, settings.retraining.cron)
    session.flush()
    return model


def get_model(session: Session, name: str) -> Model:
    """Return a model by name.

    Raises:
        UnknownModelError: There is none.
    """
    statement = (
        select(Model).where(Model.name == name).options(joinedload(Model.champion).joinedload(ModelVersion.model))
    )
    model = session.scalar(statement)
    if model is None:
        raise UnknownModelError(f"there is no model {name!r}; GET /v1/models lists them")
    return model


def lock_model(session: Session, name: str) -> Model:
    """Return a model that nobody else changes until the transaction ends.

    Raises:
        UnknownModelError: There is none.
    """
    get_model(session, name)
    statement = select(Model).where(Model.name == name).with_for_update().execution_options(populate_existing=True)
    return session.scalars(statement).one()


def get_version(session: Session, name: str, number: int) -> ModelVersion:
    """Return a model's version by number.

    Raises:
        UnknownModelError: There is no such model.
        UnknownVersionError: The model has no such version.
    """
    model = get_model(session, name)
    version = session.scalar(
        select(ModelVersion)
        .where(ModelVersion.model_id == model.id, ModelVersion.number == number)
        .options(joinedload(ModelVersion.model), selectinload(ModelVersion.tunings), _VERDICT)
    )
    if version is None:
        raise UnknownVersionError(f"model {name!r} has no version {number}; GET /v1/models/{name}/versions lists them")
    return version


def get_version_by_id(session: Session, model_version_id: int) -> ModelVersion:
    """Return a version by the id that predictions carry."""
    statement = select(ModelVersion).where(ModelVersion.id == model_version_id).options(joinedload(ModelVersion.model))
    return session.scalars(statement).one()


def list_models(session: Session) -> Sequence[Model]:
    """List all models by name."""
    return session.scalars(
        select(Model).options(*map(joinedload, (Model.champion, Model.challenger, Model.upcoming))).order_by(Model.name)
    ).all()


def list_champions(session: Session, kind: str) -> list[ServedVersion]:
    """List the versions that answer by default, of all models of a kind."""
    statement = (
        select(Model).where(Model.kind == kind).options(joinedload(Model.champion).joinedload(ModelVersion.model))
    )
    return [served(model.champion) for model in session.scalars(statement.order_by(Model.name)) if model.champion]


def list_versions(session: Session, name: str) -> Sequence[ModelVersion]:
    """List a model's versions, newest first.

    Raises:
        UnknownModelError: There is no such model.
    """
    model = get_model(session, name)
    options = (
        joinedload(ModelVersion.model),
        joinedload(ModelVersion.parent),
        selectinload(ModelVersion.tunings),
        _VERDICT,
    )
    statement = select(ModelVersion).where(ModelVersion.model_id == model.id).options(*options)
    return session.scalars(statement.order_by(ModelVersion.number.desc())).all()
