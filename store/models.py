"""The model registry: names, immutable versions, and which version answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session, joinedload, selectinload

from schemas.enums import Placement
from schemas.model_settings import ModelSettings
from store.errors import (
    KindMismatchError,
    ModelSettingsError,
    UnknownModelError,
    UnknownVersionError,
)
from store.schedules import begin_schedule, find_schedule
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
    model = _lock_or_add(session, name, kind, description)
    version = ModelVersion(
        model_id=model.id,
        number=_next_number(session, model),
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
    # From now on, and not from whenever beat comes by; what was due while it was switched off is not caught up.
    if settings.retraining is not None:
        begin_schedule(session, model.id, settings.retraining.cron)
    elif find_schedule(session, model.id) is not None:
        begin_schedule(session, model.id, None)
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


def _lock_or_add(session: Session, name: str, kind: str, description: str) -> Model:
    model = session.scalar(select(Model).where(Model.name == name).with_for_update())
    if model is None:
        model = Model(name=name, kind=kind, description=description)
        session.add(model)
        session.flush()
    return model


def _next_number(session: Session, model: Model) -> int:
    last = session.scalar(select(func.max(ModelVersion.number)).where(ModelVersion.model_id == model.id))
    return (last or 0) + 1
