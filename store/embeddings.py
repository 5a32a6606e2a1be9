"""The only SQL about embeddings: which items are near a place, and what becomes of an item's place.

Each key has an index of its own for each version of a model, a partition with its own HNSW graph (Malkov, Yashunin
2016, arXiv:1603.09320): see docs/decisions/0005-similarity-index.md. Callers hand in a connection that commits by
itself; each function is one statement, so a crash leaves no half step.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from uuid import UUID

from sqlalchemy import Connection

from schemas.enums import IndexAction, PredictionStatus
from store import embeddings_sql as sql

#: Neighbours of an answer, where the model's configuration does not say.
DEFAULT_NEIGHBOURS = 10

#: Links of a node of the graph, and candidates looked at for them: pgvector's own choice of links, twice its effort.
GRAPH_LINKS = 16
GRAPH_EFFORT = 128

# Two processes that meet a new index together would both create it.
ADVISORY_LOCK_ID = 7_208_005

OPEN = (PredictionStatus.QUEUED, PredictionStatus.PROCESSING)


@dataclass(frozen=True, kw_only=True, slots=True)
class IndexRequest:
    """What the row of a similarity prediction says of its index. Without `index_id` nothing was ever put into it."""

    id: UUID
    api_key_id: int
    item_id: int | None
    action: IndexAction | None
    photo_sha256: str | None
    catalog: str | None
    external_id: str | None
    model: str
    model_version_id: int
    neighbours: int
    index_id: int | None
    dimensions: int | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Computed:
    """An embedding that is to be stored, under the fence of its claim."""

    id: UUID
    fence: int
    embedding: Sequence[float]


@dataclass(frozen=True, kw_only=True, slots=True)
class Query:
    """A place whose neighbours are wanted; the item that it is about, if any, is not among them."""

    id: UUID
    item_id: int | None
    embedding: Sequence[float]


@dataclass(frozen=True, kw_only=True, slots=True)
class Neighbour:
    """A stored item and its Euclidean distance from what was asked."""

    catalog: str
    external_id: str
    photo_sha256: str
    distance: float


@dataclass(frozen=True, kw_only=True, slots=True)
class MissingEmbedding:
    """An item whose photo a version has not seen yet."""

    api_key_id: int
    catalog: str
    external_id: str
    photo_sha256: str
    photo_bytes: int


def read_requests(connection: Connection, ids: Sequence[UUID]) -> dict[UUID, IndexRequest]:
    """Read what predictions of a similarity model ask for."""
    return {
        row.id: IndexRequest(
            id=row.id,
            api_key_id=row.api_key_id,
            item_id=row.item_id,
            action=None if row.index_action is None else IndexAction(row.index_action),
            photo_sha256=row.input_sha256,
            catalog=row.catalog,
            external_id=row.external_id,
            model=row.model,
            model_version_id=row.model_version_id,
            neighbours=row.neighbours or DEFAULT_NEIGHBOURS,
            index_id=row.index_id,
            dimensions=row.dimensions,
        )
        for row in sql.REQUESTS.run(connection, ids=list(ids))
    }


def ensure_index(connection: Connection, *, model_version_id: int, api_key_id: int, dimensions: int) -> None:
    """Make the index of a key and a version, with its partition and its graph, unless it is there.

    Args:
        connection: In a transaction, so that an index is whole or not there.
        model_version_id: Whose embeddings it holds.
        api_key_id: The tenant.
        dimensions: Length of its embeddings.
    """
    connection.exec_driver_sql("SELECT pg_advisory_xact_lock(%(lock)s)", {"lock": ADVISORY_LOCK_ID})
    wanted = {"model_version_id": model_version_id, "api_key_id": api_key_id, "dimensions": dimensions}
    index_id = connection.exec_driver_sql(sql.CREATE_INDEX, wanted).scalar_one_or_none()
    if index_id is None:
        return
    connection.exec_driver_sql(sql.CREATE_PARTITION.format(index_id=index_id, dimensions=dimensions))
    connection.exec_driver_sql(
        sql.CREATE_GRAPH.format(index_id=index_id, dimensions=dimensions, links=GRAPH_LINKS, effort=GRAPH_EFFORT)
    )


def write(connection: Connection, computed: Sequence[Computed]) -> set[UUID]:
    """Store the embeddings of predictions that were made for an index; the index is there.

    Returns:
        The predictions whose embedding is in the index now. One that is missing came too late: a later request put
        another photo, the item was removed, or the row is no longer the caller's.
    """
    rows = [{"id": str(each.id), "fence": each.fence, "embedding": _dump(each.embedding)} for each in computed]
    return set(sql.WRITE.run(connection, rows=json.dumps(rows)).scalars())


def search(
    connection: Connection, *, index_id: int, dimensions: int, queries: Sequence[Query], limit: int
) -> dict[UUID, list[Neighbour]]:
    """Find the nearest items of each query in one statement, nearest first; fewer than `limit` where there are no more.

    The graph is searched as widely as the session's `hnsw.ef_search` says, see `store.database`.
    """
    rows = [{"id": str(each.id), "item_id": each.item_id, "embedding": _dump(each.embedding)} for each in queries]
    # Planned anew each time, in 0.5 ms: a plan for each index would stay in each connection's memory for ever.
    statement = sql.SEARCH.format(index_id=int(index_id), dimensions=int(dimensions))
    found = connection.exec_driver_sql(statement, {"rows": json.dumps(rows), "limit": limit})
    return {
        query_id: [
            Neighbour(
                catalog=row.catalog,
                external_id=row.external_id,
                photo_sha256=row.photo_sha256,
                distance=row.distance,
            )
            for row in group
        ]
        for query_id, group in groupby(found, key=lambda row: row.id)
    }


def count_missing(connection: Connection, *, model_id: int, model_version_id: int) -> int:
    """Count the items of a model, of all keys, that a search with this version does not find yet."""
    found = sql.COUNT_MISSING.run(connection, model_id=model_id, model_version_id=model_version_id)
    return int(found.scalar_one())


def count_open_refreshes(connection: Connection, *, model_version_id: int) -> int:
    """Count the embeddings of stored photos that a version was asked for and that are on their way."""
    return int(sql.COUNT_OPEN_REFRESHES.run(connection, model_version_id=model_version_id).scalar_one())


def find_missing(
    connection: Connection, *, model_id: int, model_version_id: int, limit: int, retry_failed: bool
) -> list[MissingEmbedding]:
    """List such items, but those whose embedding is on its way.

    Args:
        connection: To read with.
        model_id: Whose items.
        model_version_id: The version that shall have seen them.
        limit: At most so many.
        retry_failed: Whether photos that this version failed on count too.
    """
    settled = [*OPEN] if retry_failed else [*OPEN, PredictionStatus.FAILED]
    found = sql.MISSING.run(
        connection,
        model_id=model_id,
        model_version_id=model_version_id,
        limit=limit,
        settled=[str(status) for status in settled],
    )
    return [
        MissingEmbedding(
            api_key_id=row.api_key_id,
            catalog=row.catalog,
            external_id=row.external_id,
            photo_sha256=row.photo_sha256,
            photo_bytes=row.photo_bytes,
        )
        for row in found
    ]


def _dump(embedding: Sequence[float]) -> str:
    """Write an embedding as pgvector reads it."""
    return "[" + ",".join(map(repr, embedding)) + "]"
