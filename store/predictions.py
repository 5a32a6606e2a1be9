"""Reading predictions. Moving them is `store.ledger`'s alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, ScalarSelect, Select, func, literal_column, select, text, true, tuple_
from sqlalchemy.orm import InstrumentedAttribute, Session, aliased, joinedload

from schemas.enums import PredictionStatus
from store.errors import UnknownItemError, UnknownPredictionError
from store.partitions import CLOCK_SLACK, least_id
from store.tables.item import Item
from store.tables.model import Model
from store.tables.model_version import ModelVersion
from store.tables.prediction import Prediction

#: The largest number that a version may have: what its column holds.
MOST_VERSION = 2**31 - 1

# A position beyond this is shown as it is; counting further would make the hint cost more than the answer.
POSITION_LIMIT = 10_000

# A page is read in one of these sizes and cut: each is a statement that the server plans once a connection.
PAGE_SIZES = (20, 50, 100, 500)


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
    statement = _readable().where(Prediction.id == prediction_id, *_of_tenant(api_key_id))
    row = session.scalar(statement.execution_options(prepared=True))
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
    if chosen.version is not None and chosen.version > MOST_VERSION:
        # A prepared statement takes nothing that its column cannot hold.
        return []
    before = before or _latest()
    matching = _matching(chosen, api_key_id=api_key_id, before=before)
    narrowed = api_key_id is not None or chosen.model is not None or chosen.version is not None
    if narrowed:
        statement, id_ = _newest_by_version(chosen, matching, before, limit)
    else:
        statement, id_ = _readable().where(*matching), Prediction.id
    return _read(session, statement.order_by(id_.desc()), limit)


def list_item_predictions(
    session: Session, *, catalog: str, external_id: str, api_key_id: int | None, before: UUID | None, limit: int
) -> Sequence[Prediction]:
    """List what was predicted about one item, newest first.

    Raises:
        UnknownItemError: The tenant never sent anything under this catalog and external id.
    """
    wanted = select(Item).where(Item.catalog == catalog, Item.external_id == external_id)
    item = session.scalar(wanted.execution_options(prepared=True))
    rows: Sequence[Prediction] = []
    if item is not None:
        # No partition from before the item was known can hold anything about it.
        since = Prediction.id >= least_id(item.created_at - CLOCK_SLACK)
        until = Prediction.id < (before or _latest())
        matching = [Prediction.item_id == item.id, since, until, *_of_tenant(api_key_id)]
        rows = _read(session, _readable().where(*matching).order_by(Prediction.id.desc()), limit)
    # Another tenant's item reads like one that nobody knows.
    if item is None or (not rows and before is None):
        raise UnknownItemError(f"nothing is known of item {external_id!r} in catalog {catalog!r}")
    return rows


def queue_position(session: Session, prediction: Prediction) -> int:
    """Count the queued rows that go before this one, up to `POSITION_LIMIT`; 0 when it is next or not queued."""
    if prediction.status != PredictionStatus.QUEUED:
        return 0
    ahead = (
        select(Prediction.id)
        .where(Prediction.status == text("'queued'"), Prediction.claim_order < prediction.claim_order)
        .limit(_literal(POSITION_LIMIT))
    )
    counted = select(func.count()).select_from(ahead.subquery())
    return session.scalar(counted.execution_options(prepared=True)) or 0


def _readable(entity: type[Prediction] = Prediction) -> Select[Prediction]:
    return select(entity).options(
        joinedload(entity.version).joinedload(ModelVersion.model), joinedload(entity.item), joinedload(entity.feedback)
    )


def _read(session: Session, statement: Select[Prediction], limit: int) -> Sequence[Prediction]:
    """Read a page by a prepared statement, of which there are as many as there are sizes of a page."""
    bounded = statement.limit(_literal(_page_size(limit))).execution_options(prepared=True)
    return session.scalars(bounded).all()[:limit]


def _newest_by_version(
    chosen: PredictionFilter, matching: Sequence[ColumnElement[bool]], before: UUID, limit: int
) -> tuple[Select[Prediction], InstrumentedAttribute[UUID]]:
    """Take the newest of each version and merge them.

    The indexes order by time within a version only. A version costs one look into each partition at most, however
    many rows of others lie between its own: it is a range of those indexes. Were it named by an equation, the planner
    could also walk the primary key until a page is full, and of a version without rows that is the whole table.
    """
    order = tuple_(Prediction.model_version_id, Prediction.id)
    within = [Prediction.model_version_id >= ModelVersion.id, order < tuple_(ModelVersion.id, before), *matching]
    ordered = select(Prediction).where(*within).order_by(Prediction.model_version_id.desc(), Prediction.id.desc())
    newest = ordered.limit(_literal(_page_size(limit)))
    found = aliased(Prediction, newest.correlate(ModelVersion).lateral("newest"))
    statement = _readable(found).select_from(ModelVersion).join(found, true())
    if chosen.model is not None:
        statement = statement.where(ModelVersion.model_id == _model_id(chosen.model))
    if chosen.version is not None:
        statement = statement.where(ModelVersion.number == chosen.version)
    return statement, found.id


def _matching(chosen: PredictionFilter, *, api_key_id: int | None, before: UUID) -> list[ColumnElement[bool]]:
    matching = [*_of_tenant(api_key_id), Prediction.id < before]
    if chosen.status is not None:
        # In the text, not a parameter: the plan of a prepared statement must know it to use the indexes of some states.
        matching.append(Prediction.status == _literal(f"'{PredictionStatus(chosen.status)}'"))
    # The id begins with the time of acceptance, so a range of time is a range of ids and prunes partitions.
    if chosen.created_after is not None:
        matching.append(Prediction.id >= least_id(chosen.created_after))
    if chosen.created_before is not None:
        matching.append(Prediction.id < least_id(chosen.created_before))
    return matching


def _of_tenant(api_key_id: int | None) -> list[ColumnElement[bool]]:
    return [] if api_key_id is None else [Prediction.api_key_id == api_key_id]


def _latest() -> UUID:
    """Return an id that is later than all, as far as clocks may be ahead: no look into the partitions of the future."""
    return least_id(datetime.now(UTC) + CLOCK_SLACK)


def _page_size(limit: int) -> int:
    return next((size for size in PAGE_SIZES if size >= limit), limit)


def _literal(value: object) -> ColumnElement[Any]:
    return literal_column(str(value))


def _model_id(name: str) -> ScalarSelect[int]:
    return select(Model.id).where(Model.name == name).scalar_subquery()
