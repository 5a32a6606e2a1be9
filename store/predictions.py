"""Reading predictions. Moving them is `store.ledger`'s alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import ScalarSelect, Select, func, select, text
from sqlalchemy.orm import Session, joinedload

from schemas.enums import PredictionStatus
from store.errors import UnknownItemError, UnknownPredictionError
from store.partitions import least_id
from store.tables.item import Item
from store.tables.model import Model
from store.tables.model_version import ModelVersion
from store.tables.prediction import Prediction

# A position beyond this is shown as it is; counting further would make the hint cost more than the answer.
POSITION_LIMIT = 10_000


@dataclass(frozen=True, kw_only=True)
class PredictionFilter:
    """Which predictions to list; None leaves a field open."""

    model: str | None = None
    version: int | None = None
    status: PredictionStatus | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None


def get_prediction(session: Session, prediction_id: UUID, *, api_key_id: int | None) -> Prediction:
    """Return a prediction.

    Args:
        session: To read with.
        prediction_id: Which.
        api_key_id: The tenant that may see it; None for any.

    Raises:
        UnknownPredictionError: There is none, or it is another tenant's.
    """
    statement = _readable(api_key_id).where(Prediction.id == prediction_id)
    row = session.scalar(statement)
    if row is None:
        raise UnknownPredictionError(f"there is no prediction {prediction_id}")
    return row


def list_predictions(
    session: Session, chosen: PredictionFilter, *, api_key_id: int | None, before: UUID | None, limit: int
) -> Sequence[Prediction]:
    """List predictions, newest first.

    Args:
        session: To read with.
        chosen: Which.
        api_key_id: The tenant that may see them; None for all.
        before: Only older ones than this id: the cursor.
        limit: At most so many.
    """
    statement = _readable(api_key_id)
    if chosen.model is not None:
        statement = statement.where(Prediction.model_id == _model_id(chosen.model))
    if chosen.version is not None:
        statement = statement.where(Prediction.version.has(ModelVersion.number == chosen.version))
    if chosen.status is not None:
        statement = statement.where(Prediction.status == str(chosen.status))
    # The id begins with the time of acceptance, so a range of time is a range of ids and prunes partitions.
    if chosen.created_after is not None:
        statement = statement.where(Prediction.id >= least_id(chosen.created_after))
    if chosen.created_before is not None:
        statement = statement.where(Prediction.id < least_id(chosen.created_before))
    if before is not None:
        statement = statement.where(Prediction.id < before)
    return session.scalars(statement.order_by(Prediction.id.desc()).limit(limit)).all()


def list_item_predictions(
    session: Session, *, catalog: str, external_id: str, api_key_id: int | None, before: UUID | None, limit: int
) -> Sequence[Prediction]:
    """List what was predicted about one item, newest first.

    Raises:
        UnknownItemError: The tenant never sent anything under this catalog and external id.
    """
    item_id = session.scalar(select(Item.id).where(Item.catalog == catalog, Item.external_id == external_id))
    statement = _readable(api_key_id).where(Prediction.item_id == item_id)
    if before is not None:
        statement = statement.where(Prediction.id < before)
    rows = session.scalars(statement.order_by(Prediction.id.desc()).limit(limit)).all()
    # Another tenant's item reads like one that nobody knows.
    if item_id is None or (not rows and before is None):
        raise UnknownItemError(f"nothing is known of item {external_id!r} in catalog {catalog!r}")
    return rows


def queue_position(session: Session, prediction: Prediction) -> int:
    """Count the queued rows that go before this one, up to `POSITION_LIMIT`; 0 when it is next or not queued."""
    if prediction.status != PredictionStatus.QUEUED:
        return 0
    ahead = (
        select(Prediction.id)
        .where(Prediction.status == text("'queued'"), Prediction.claim_order < prediction.claim_order)
        .limit(POSITION_LIMIT)
    )
    return session.scalar(select(func.count()).select_from(ahead.subquery())) or 0


def _readable(api_key_id: int | None) -> Select[Prediction]:
    statement = select(Prediction).options(
        joinedload(Prediction.version).joinedload(ModelVersion.model), joinedload(Prediction.item)
    )
    return statement if api_key_id is None else statement.where(Prediction.api_key_id == api_key_id)


def _model_id(name: str) -> ScalarSelect[int]:
    return select(Model.id).where(Model.name == name).scalar_subquery()
