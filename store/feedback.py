"""Feedback: storing what the right answers were, group by group, and reading it again."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, select
from sqlalchemy.orm import Session

from schemas.enums import PredictionStatus
from store import feedback_sql as sql
from store.errors import (
    InvalidLabelError,
    PredictionStateError,
    StoreError,
    UnknownFeedbackError,
    UnknownItemError,
    UnknownPredictionError,
)
from store.labels import Judgement, judge, split_item
from store.predictions import get_prediction
from store.tables.feedback import Feedback, FeedbackRevision
from store.tables.prediction import Prediction

#: Who says so, where the caller does not tell.
DEFAULT_SOURCE = "api"

#: What a training makes of feedback, where the caller does not tell.
DEFAULT_WEIGHT = 1.0

#: Held shared while feedback is written, and alone while an item is forgotten.
FEEDBACK_LOCK_ID = 7_208_007

SIMILARITY = "similarity"


class Change(StrEnum):
    """What a correction did."""

    CREATED = "created"
    REVISED = "revised"
    REPEATED = "repeated"
    """Nothing: the same was known, or a later line of the same group says otherwise."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Correction:
    """What somebody says the right answer to a prediction was.

    Either `prediction_id` is set, or `catalog` and `external_id`, which stand for the latest answer about that item.

    Attributes:
        label: The right answer, in the form of the model's kind; see `store.labels`.
        source: Who or what says so.
        weight: How much a training makes of it.
    """

    label: Any
    prediction_id: UUID | None = None
    catalog: str | None = None
    external_id: str | None = None
    source: str = DEFAULT_SOURCE
    weight: float = DEFAULT_WEIGHT


@dataclass(frozen=True, slots=True)
class Model:
    """The model whose predictions a group is about."""

    id: int
    name: str


Outcome = Change | StoreError


@dataclass(frozen=True, slots=True)
class _Version:
    kind: str
    config: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Judged:
    number: int
    answer: Row[Any]
    correction: Correction
    judgement: Judgement
    kind: str


def record_feedback(
    connection: Connection,
    group: Sequence[Correction],
    *,
    api_key_id: int | None,
    recorded_by: int,
    model: Model | None = None,
) -> list[Outcome]:
    """Store a group of corrections; those that cannot be stored do not hinder the others.

    The same correction again changes nothing, another one of the same prediction raises its revision. Of several for
    one prediction within a group the last counts.

    Args:
        connection: Within a transaction, which keeps an item from being forgotten meanwhile.
        group: Up to a few thousand.
        api_key_id: The tenant whose predictions may be corrected; None for any.
        recorded_by: The key that sends them.
        model: Predictions of other models are refused; needed where items stand for predictions.

    Returns:
        For each correction what it did, or why it is refused.
    """
    sql.LOCK.run(connection, lock=FEEDBACK_LOCK_ID)
    answers = _find_answers(connection, group, api_key_id=api_key_id, model=model)
    versions = _read_versions(connection, answers.values())
    outcomes: list[Outcome] = [Change.REPEATED] * len(group)
    judged: list[_Judged] = []
    for number, correction in enumerate(group):
        try:
            judged.append(_judge(number, correction, answers.get(number), versions, model))
        except StoreError as error:
            outcomes[number] = error
    judged = _without_unknown_items(connection, judged, outcomes)
    # Later ones overwrite earlier ones, in the order of the group.
    latest = {each.answer.id: each for each in judged}
    for row in sql.RECORD.run(connection, rows=_dump([_row(each, recorded_by) for each in latest.values()])):
        outcomes[latest[row.prediction_id].number] = Change.CREATED if row.revision == 1 else Change.REVISED
    return outcomes


def get_feedback(session: Session, prediction_id: UUID, *, api_key_id: int | None) -> tuple[Prediction, Feedback]:
    """Return a prediction with the feedback on it.

    Args:
        session: To read with.
        prediction_id: Which prediction.
        api_key_id: The tenant that may see it; None for any.

    Raises:
        UnknownPredictionError: There is no such prediction, or it is another tenant's.
        UnknownFeedbackError: Nobody has sent any.
    """
    prediction = get_prediction(session, prediction_id, api_key_id=api_key_id)
    if prediction.feedback is None:
        raise UnknownFeedbackError(f"there is no feedback on prediction {prediction_id}")
    return prediction, prediction.feedback


def list_revisions(session: Session, prediction_id: UUID) -> Sequence[FeedbackRevision]:
    """List what was said of a prediction before its latest feedback, newest first."""
    statement = select(FeedbackRevision).where(FeedbackRevision.prediction_id == prediction_id)
    return session.scalars(statement.order_by(FeedbackRevision.revision.desc())).all()


def _find_answers(
    connection: Connection, group: Sequence[Correction], *, api_key_id: int | None, model: Model | None
) -> dict[int, Row[Any]]:
    by_id = [
        {"number": number, "prediction_id": str(each.prediction_id)}
        for number, each in enumerate(group)
        if each.prediction_id is not None
    ]
    by_item = [
        {"number": number, "catalog": each.catalog, "external_id": each.external_id}
        for number, each in enumerate(group)
        if each.prediction_id is None
    ]
    found: list[Row[Any]] = []
    if by_id:
        found += sql.FIND_BY_ID.run(connection, rows=_dump(by_id), api_key_id=api_key_id)
    if by_item:
        assert model is not None, "an item stands for a prediction of one model"
        found += sql.FIND_BY_ITEM.run(connection, rows=_dump(by_item), api_key_id=api_key_id, model_id=model.id)
    return {row.number: row for row in found}


def _read_versions(connection: Connection, answers: Iterable[Row[Any]]) -> dict[int, _Version]:
    ids = sorted({row.model_version_id for row in answers})
    return {row.id: _Version(row.kind, row.config) for row in sql.VERSIONS.run(connection, ids=ids)} if ids else {}


def _judge(
    number: int,
    correction: Correction,
    answer: Row[Any] | None,
    versions: Mapping[int, _Version],
    model: Model | None,
) -> _Judged:
    """Compare one correction with the answer that it is about.

    Raises:
        StoreError: It cannot be stored; the kind of error says why.
    """
    if answer is None:
        raise _unknown(correction)
    if model is not None and answer.model_id != model.id:
        raise UnknownPredictionError(f"prediction {answer.id} is of another model than {model.name!r}")
    if answer.indexes:
        raise PredictionStateError(f"prediction {answer.id} put an item into an index and has no answer to correct")
    if answer.status != PredictionStatus.SUCCEEDED:
        raise PredictionStateError(f"prediction {answer.id} is {answer.status}: only an answer can be corrected")
    version = versions[answer.model_version_id]
    judgement = judge(version.kind, version.config, correction.label, answer.answer)
    return _Judged(number, answer, correction, judgement, version.kind)


def _without_unknown_items(connection: Connection, judged: list[_Judged], outcomes: list[Outcome]) -> list[_Judged]:
    """Refuse labels of similarities that name an item which no search of the tenant could have found."""
    named = [each for each in judged if each.kind == SIMILARITY and isinstance(each.judgement.label, str)]
    if not named:
        return judged
    missing = {row.number for row in sql.MISSING_ITEMS.run(connection, rows=_dump([_item_row(each) for each in named]))}
    for each in named:
        if each.number in missing:
            outcomes[each.number] = InvalidLabelError(
                f"names an item that is not in your index: {each.judgement.label}"
            )
    return [each for each in judged if each.number not in missing]


def _item_row(judged: _Judged) -> dict[str, Any]:
    catalog, external_id = split_item(judged.judgement.label)
    answer = judged.answer
    return {
        "number": judged.number,
        "model_id": answer.model_id,
        "api_key_id": answer.api_key_id,
        "catalog": catalog,
        "external_id": external_id,
    }


def _row(judged: _Judged, recorded_by: int) -> dict[str, Any]:
    answer, correction, judgement = judged.answer, judged.correction, judged.judgement
    return {
        "prediction_id": str(answer.id),
        "api_key_id": answer.api_key_id,
        "model_id": answer.model_id,
        "model_version_id": answer.model_version_id,
        "item_id": answer.item_id,
        "label": judgement.label,
        "is_correct": judgement.is_correct,
        "error": judgement.error,
        "source": correction.source,
        "weight": correction.weight,
        "recorded_by": recorded_by,
        "predicted_at": answer.created_at.isoformat(),
    }


def _unknown(correction: Correction) -> StoreError:
    if correction.prediction_id is not None:
        return UnknownPredictionError(f"there is no prediction {correction.prediction_id}")
    return UnknownItemError(
        f"nothing was answered about item {correction.external_id!r} of catalog {correction.catalog!r}"
    )


def _dump(rows: list[dict[str, Any]]) -> str:
    return json.dumps(rows, separators=(",", ":"), allow_nan=False)
