"""Finisher of kind `similarity`: an embedding becomes its nearest items, or an item's place in the index."""

from collections.abc import Iterable, Sequence
from itertools import groupby
from urllib.parse import quote
from uuid import UUID

from sqlalchemy import Connection
from sqlalchemy import Engine as Database

from ml.predictor import Result
from store import embeddings
from store.embeddings import Computed, IndexRequest, Neighbour, Query
from store.ledger_rows import Claim

# Distances of 32-bit numbers carry no more.
DISTANCE_DECIMALS = 6

Embedded = tuple[IndexRequest, Claim, Result]


class NeighbourFinisher:
    """Answers `{"items": [{"catalog", "external_id", "distance", "photo_sha256", "photo_url"}, …]}`, nearest first.

    A prediction that was made to put an item answers `{"indexed": true, "photo_sha256", "photo_url"}`; false where a
    later request had put another photo, or had removed the item, by then. No answer holds an embedding.

    Args:
        database: Durable: an item that was said to be indexed stays so.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._autocommit = database.execution_options(isolation_level="AUTOCOMMIT")

    def finish(self, claims: Sequence[Claim], results: Sequence[Result]) -> list[Result]:
        """Write embeddings that are for an index, then search for the others; see `tasks.finishing.Finisher`."""
        with self._autocommit.connect() as connection:
            requests = embeddings.read_requests(connection, [claim.id for claim in claims])
            batch = [(requests[claim.id], claim, result) for claim, result in zip(claims, results, strict=True)]
            finished = self._write(connection, [each for each in batch if each[0].action is not None])
            finished |= _search(connection, [each for each in batch if each[0].action is None])
        return [finished[claim.id] for claim in claims]

    def _write(self, connection: Connection, batch: Sequence[Embedded]) -> dict[UUID, Result]:
        if not batch:
            return {}
        self._ensure_indexes(batch)
        computed = [
            Computed(id=claim.id, fence=claim.fence, embedding=result["embedding"]) for _, claim, result in batch
        ]
        indexed = embeddings.write(connection, computed)
        return {request.id: _put_result(request, indexed=request.id in indexed) for request, _, _ in batch}

    def _ensure_indexes(self, batch: Sequence[Embedded]) -> None:
        new = {
            (request.model_version_id, request.api_key_id): len(result["embedding"])
            for request, _, result in batch
            if request.index_id is None
        }
        for (model_version_id, api_key_id), dimensions in new.items():
            with self._database.begin() as connection:
                embeddings.ensure_index(
                    connection, model_version_id=model_version_id, api_key_id=api_key_id, dimensions=dimensions
                )


def _search(connection: Connection, batch: Sequence[Embedded]) -> dict[UUID, Result]:
    """Search each index once for all queries of its key."""
    found: dict[UUID, Result] = {request.id: {"items": []} for request, _, _ in batch}
    searchable = sorted(
        ((request.index_id, request.dimensions, request, result) for request, _, result in batch if request.index_id),
        key=lambda each: each[0] or 0,
    )
    for (index_id, dimensions), group in groupby(searchable, key=lambda each: (each[0], each[1])):
        assert index_id is not None, "sorted out above"
        assert dimensions is not None, "every index has them"
        asked = [(request, result) for _, _, request, result in group]
        neighbours = embeddings.search(
            connection,
            index_id=index_id,
            dimensions=dimensions,
            queries=_queries(asked),
            limit=asked[0][0].neighbours,
        )
        for request, _ in asked:
            found[request.id] = _search_result(request.model, neighbours.get(request.id, []))
    return found


def _queries(asked: Iterable[tuple[IndexRequest, Result]]) -> list[Query]:
    return [Query(id=request.id, item_id=request.item_id, embedding=result["embedding"]) for request, result in asked]


def _search_result(model: str, neighbours: Iterable[Neighbour]) -> Result:
    return {
        "items": [
            {
                "catalog": each.catalog,
                "external_id": each.external_id,
                "distance": round(each.distance, DISTANCE_DECIMALS),
                "photo_sha256": each.photo_sha256,
                "photo_url": photo_url(model, each.catalog, each.external_id),
            }
            for each in neighbours
        ]
    }


def _put_result(request: IndexRequest, *, indexed: bool) -> Result:
    assert request.catalog is not None, "only an item is put"
    assert request.external_id is not None, "only an item is put"
    return {
        "indexed": indexed,
        "photo_sha256": request.photo_sha256,
        "photo_url": photo_url(request.model, request.catalog, request.external_id),
    }


def photo_url(model: str, catalog: str, external_id: str) -> str:
    """Name the path under which the photo of an indexed item is read."""
    return f"/v1/models/{quote(model, safe='')}/items/{quote(catalog, safe='')}/{quote(external_id, safe='')}/photo"
