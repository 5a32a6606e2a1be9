"""Trainings: asking for one, reading them. Moving them from state to state is `store.training_ledger`'s alone."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, Select, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session, joinedload, undefer
from uuid_utils.compat import uuid7

from schemas.enums import FeedbackChoice, TrainingStart, TrainingStatus, TrainingTrigger
from schemas.model_settings import ModelSettings
from schemas.training_options import TrainingOptions
from store.errors import (
    NoTrainingDataError,
    TrainingOptionError,
    TrainingRunningError,
    UnknownModelError,
    UnknownTrainingError,
)
from store.models import get_model
from store.tables.feedback import Feedback
from store.tables.model import Model
from store.tables.model_version import ModelVersion
from store.tables.training import Training, TrainingExample
from store.training_data import count_since, survey

#: What is right about their answers is no label that a loss takes; they are trained on base data alone.
NOT_FROM_FEEDBACK = frozenset({"segmentation", "similarity"})

#: Programs that are what they are: nothing of them can be trained.
FIXED_FORMATS = frozenset({"torch-export"})

MIN_EXAMPLES = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class PostedData:
    """Tensors that a caller posted, checked; they are in the object store before the training is committed.

    Attributes:
        sha256: Hex; their key in the object store.
        rows: How many.
    """

    sha256: str
    rows: int


@dataclass(frozen=True, kw_only=True)
class TrainingFilter:
    """Which trainings to list; None leaves a field open."""

    model: str | None = None
    status: TrainingStatus | None = None
    prediction: UUID | None = None


def request_training(
    session: Session,
    *,
    name: str,
    options: TrainingOptions,
    trigger: TrainingTrigger,
    actor: str,
    data: PostedData | None = None,
) -> Training:
    """Queue a training, in the transaction of the session; ring the doorbell after its commit.

    Args:
        session: Where.
        name: Of the model.
        options: How; what is left open is decided here, so that the row tells all.
        trigger: What asks.
        actor: Who asks.
        data: To train on in place of base data and feedback.

    Raises:
        UnknownModelError: There is no such model, or it has no version yet.
        TrainingRunningError: One of this model is queued or running.
        TrainingOptionError: The model cannot be trained so; names the option.
        NoTrainingDataError: There is nothing to learn from, or one class alone.
    """
    model = get_model(session, name)
    version = model.champion
    if version is None:
        raise UnknownModelError(f"model {name!r} has no champion yet; a training takes its configuration from there")
    chosen = _decide(model, version, options, data)
    if open_training(session, model.id) is not None:
        raise _running(name)
    if data is None:
        _check_data(session, model, chosen)
    values = {
        "id": uuid7(),
        "model_id": model.id,
        "status": str(TrainingStatus.QUEUED),
        "trigger": str(trigger),
        "actor": actor,
        "options": chosen.dump(),
        "seed": chosen.seed,
        "parent_version_id": version.id,
        "data_sha256": None if data is None else data.sha256,
        "time_limit_s": chosen.time_limit_s,
    }
    # Whoever asks at the same moment finds the unique index of open trainings.
    made = session.scalar(insert(Training).values(**values).on_conflict_do_nothing().returning(Training.id))
    if made is None:
        raise _running(name)
    return get_training(session, made)


def open_training(session: Session, model_id: int) -> UUID | None:
    """Return the training of a model that is queued or running."""
    return session.scalar(select(Training.id).where(Training.model_id == model_id, is_open()))


def is_open() -> ColumnElement[bool]:
    """Return the condition under which a training is queued or running."""
    return Training.status.in_([str(TrainingStatus.QUEUED), str(TrainingStatus.PROCESSING)])


def get_training(session: Session, training_id: UUID, *, with_log: bool = False) -> Training:
    """Return a training with its model and versions.

    Raises:
        UnknownTrainingError: There is none.
    """
    statement = _readable().where(Training.id == training_id).execution_options(populate_existing=True)
    row = session.scalar(statement.options(undefer(Training.log)) if with_log else statement)
    if row is None:
        raise UnknownTrainingError(f"there is no training {training_id}; GET /v1/trainings lists them")
    return row


def list_trainings(
    session: Session, chosen: TrainingFilter, *, before: UUID | None, limit: int, api_key_id: int | None = None
) -> Sequence[Training]:
    """List trainings, newest first.

    Args:
        session: To read with.
        chosen: Which.
        before: Only older ones than this id: the cursor.
        limit: At most so many.
        api_key_id: The tenant whose prediction may be asked for; None for any.

    Raises:
        UnknownModelError: There is no such model.
    """
    statement = _readable().order_by(Training.id.desc()).limit(limit)
    if chosen.model is not None:
        statement = statement.where(Training.model_id == get_model(session, chosen.model).id)
    if chosen.status is not None:
        statement = statement.where(Training.status == str(chosen.status))
    if chosen.prediction is not None:
        saw = select(TrainingExample.training_id).where(TrainingExample.prediction_id == chosen.prediction)
        if api_key_id is not None:
            own = select(Feedback.prediction_id).where(Feedback.api_key_id == api_key_id)
            saw = saw.where(TrainingExample.prediction_id.in_(own))
        statement = statement.where(Training.id.in_(saw))
    if before is not None:
        statement = statement.where(Training.id < before)
    return session.scalars(statement).all()


def list_examples(
    session: Session, training_id: UUID, *, api_key_id: int | None, after: UUID | None, limit: int
) -> Sequence[TrainingExample]:
    """List what a training learned from, oldest first; a tenant sees its own predictions alone."""
    statement = select(TrainingExample).where(TrainingExample.training_id == training_id)
    if api_key_id is not None:
        own = select(Feedback.prediction_id).where(Feedback.api_key_id == api_key_id)
        statement = statement.where(TrainingExample.prediction_id.in_(own))
    if after is not None:
        statement = statement.where(TrainingExample.prediction_id > after)
    return session.scalars(statement.order_by(TrainingExample.prediction_id).limit(limit)).all()


def last_training(session: Session, model_id: int) -> Training | None:
    """Return the newest training of a model."""
    return session.scalar(_readable().where(Training.model_id == model_id).order_by(Training.id.desc()).limit(1))


def last_success(session: Session, model_id: int) -> datetime | None:
    """Return when the newest training of a model that succeeded was asked for.

    What failed or was cancelled has learned nothing: whatever asked for it is still due.
    """
    succeeded = Training.status == str(TrainingStatus.SUCCEEDED)
    statement = select(Training.created_at).where(Training.model_id == model_id, succeeded)
    return session.scalar(statement.order_by(Training.id.desc()).limit(1))


def feedback_since(session: Session, model: Model, options: TrainingOptions, since: datetime | None) -> int:
    """Count the feedback that came, or was corrected, after a time, and that a training of a model would learn from.

    Args:
        session: To read with.
        model: Which.
        options: How it would be trained; they decide which feedback counts.
        since: None counts all.
    """
    return count_since(session, model.id, _decide_feedback(model, options), since)


def _readable() -> Select[Training]:
    return select(Training).options(
        joinedload(Training.model),
        joinedload(Training.version).joinedload(ModelVersion.model),
        joinedload(Training.parent).joinedload(ModelVersion.model),
    )


def _running(name: str) -> TrainingRunningError:
    return TrainingRunningError(
        f"a training of {name!r} is under way; wait for it or cancel it: GET /v1/trainings?model={name}"
    )


def _decide(model: Model, version: ModelVersion, options: TrainingOptions, data: PostedData | None) -> TrainingOptions:
    """Fill in what was left open.

    Raises:
        TrainingOptionError: The model cannot be trained so.
    """
    if version.config.get("format") in FIXED_FORMATS:
        raise TrainingOptionError(
            "start", f"model {model.name!r} is a torch.export program, which cannot be trained; import its weights"
        )
    has_recipe = version.config.get("recipe") is not None
    learns = model.kind not in NOT_FROM_FEEDBACK
    if options.feedback not in (None, FeedbackChoice.NONE) and not learns:
        raise TrainingOptionError("feedback", f"a {model.kind} model does not learn from feedback; use `none`")
    if data is not None:
        return replace(
            options,
            start=options.start or TrainingStart.SCRATCH,
            use_base=False,
            limit=None,
            feedback=FeedbackChoice.NONE,
        )
    return replace(
        _decide_feedback(model, options),
        start=options.start or (TrainingStart.SCRATCH if has_recipe else TrainingStart.CHAMPION),
        use_base=options.use_base and has_recipe,
    )


def _decide_feedback(model: Model, options: TrainingOptions) -> TrainingOptions:
    """Fill in what decides which feedback is learned from."""
    gate = ModelSettings.load(model.settings).gate
    learns = model.kind not in NOT_FROM_FEEDBACK
    return replace(
        options,
        holdout=gate.held_out_share if options.holdout is None else options.holdout,
        feedback=options.feedback or (FeedbackChoice.ALL if learns else FeedbackChoice.NONE),
    )


def _check_data(session: Session, model: Model, options: TrainingOptions) -> None:
    """Refuse at once what a training would fail with.

    Raises:
        NoTrainingDataError: There is nothing to learn from, or one class alone.
    """
    if options.use_base:
        return
    found = survey(session, model.id, options)
    if found.rows < MIN_EXAMPLES:
        raise NoTrainingDataError(
            f"model {model.name!r} has {found.rows} row(s) of feedback that match, and no base data is used; "
            f"send feedback first, or post data"
        )
    if model.kind == "classification" and found.labels < 2:
        raise NoTrainingDataError(
            f"all {found.rows} rows of feedback on {model.name!r} that match have the same label: "
            "there is nothing to tell apart"
        )
