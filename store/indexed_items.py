"""The items of a model's index, as their owner reads and removes them. Putting one takes a prediction."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, Row, Select, and_, delete, exists, func, select
from sqlalchemy.orm import Session

from store import ledger
from store.errors import UnknownItemError
from store.ledger_rows import Finished
from store.models import ServedVersion
from store.tables.embedding import Embedding
from store.tables.indexed_item import IndexedItem
from store.tables.item import Item
from store.tables.similarity_index import SimilarityIndex


@dataclass(frozen=True, kw_only=True, slots=True)
class IndexEntry:
    """An item of an index. `indexed` tells whether a search with the asked version finds it."""

    id: int
    catalog: str
    external_id: str
    photo_sha256: str
    put_at: datetime
    indexed: bool


def list_indexed_items(
    session: Session, version: ServedVersion, *, api_key_id: int, after: int | None, limit: int
) -> list[IndexEntry]:
    """List a key's items in the order in which they were first put.

    Args:
        session: To read with.
        version: Whose index; its model's items are listed.
        api_key_id: Whose items.
        after: Only those after this one's `id`: the cursor.
        limit: At most so many.
    """
    statement = _entries(version, api_key_id)
    if after is not None:
        statement = statement.where(IndexedItem.id > after)
    return [_entry(row) for row in session.execute(statement.order_by(IndexedItem.id).limit(limit))]


def count_indexed_items(session: Session, *, model_id: int, api_key_id: int) -> int:
    """Count a key's items in the index of a model."""
    mine = (IndexedItem.model_id == model_id) & (IndexedItem.api_key_id == api_key_id)
    return session.scalar(select(func.count()).select_from(IndexedItem).where(mine)) or 0


def get_indexed_item(
    session: Session, version: ServedVersion, *, api_key_id: int, catalog: str, external_id: str
) -> IndexEntry:
    """Return one of a key's items.

    Raises:
        UnknownItemError: It is not in the index, or is another key's.
    """
    statement = _entries(version, api_key_id).where(Item.catalog == catalog, Item.external_id == external_id)
    row = session.execute(statement).one_or_none()
    if row is None:
        raise _unknown(catalog, external_id)
    return _entry(row)


def remove_indexed_item(
    session: Session, version: ServedVersion, *, api_key_id: int, catalog: str, external_id: str
) -> Sequence[Finished]:
    """Remove an item with its embeddings by all versions, and cancel what would put it back.

    Returns:
        The requests that it cancelled; publish them after the commit.

    Raises:
        UnknownItemError: It is neither in the index nor on its way there, or is another key's.
    """
    item_id = session.scalar(select(Item.id).where(Item.catalog == catalog, Item.external_id == external_id))
    if item_id is None:
        raise _unknown(catalog, external_id)
    # First, because it waits for a worker that is just writing: what that wrote, the next statement sees.
    canceled = ledger.cancel_puts(
        session.connection(), api_key_id=api_key_id, model_id=version.model_id, item_id=item_id
    )
    mine = and_(
        IndexedItem.model_id == version.model_id, IndexedItem.api_key_id == api_key_id, IndexedItem.item_id == item_id
    )
    removed = session.scalar(delete(IndexedItem).where(mine).returning(IndexedItem.id))
    if removed is None and not canceled:
        raise _unknown(catalog, external_id)
    return canceled


def _entries(version: ServedVersion, api_key_id: int) -> Select[int, str, str, str, datetime, bool]:
    return (
        select(
            IndexedItem.id,
            Item.catalog,
            Item.external_id,
            IndexedItem.photo_sha256,
            IndexedItem.put_at,
            _is_found_by(version),
        )
        .join(IndexedItem.item)
        .where(IndexedItem.model_id == version.model_id, IndexedItem.api_key_id == api_key_id)
    )


def _is_found_by(version: ServedVersion) -> ColumnElement[bool]:
    return exists().where(
        Embedding.indexed_item_id == IndexedItem.id,
        Embedding.photo_sha256 == IndexedItem.photo_sha256,
        Embedding.index_id == SimilarityIndex.id,
        SimilarityIndex.model_version_id == version.model_version_id,
        SimilarityIndex.api_key_id == IndexedItem.api_key_id,
    )


def _entry(row: Row[int, str, str, str, datetime, bool]) -> IndexEntry:
    return IndexEntry(id=row[0], catalog=row[1], external_id=row[2], photo_sha256=row[3], put_at=row[4], indexed=row[5])


def _unknown(catalog: str, external_id: str) -> UnknownItemError:
    return UnknownItemError(f"there is no item {external_id!r} of catalog {catalog!r} in this index")
