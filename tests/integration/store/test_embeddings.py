"""`store.embeddings` and `store.indexed_items`: who is near whom, and which put wins."""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Connection, text
from sqlalchemy import Engine as Database
from sqlalchemy.exc import DBAPIError

from schemas.enums import IndexAction
from store import embeddings, embeddings_sql, ledger
from store.database import open_session
from store.embeddings import Computed, Query
from store.errors import UnknownItemError
from store.indexed_items import get_indexed_item, remove_indexed_item
from store.ledger_rows import Claim
from store.models import ServedVersion
from tests.factories import OTHER_TENANT, TENANT, Rows, add_model, success
from tests.running import wait_until

EAST, NORTH, WEST = (1.0, 0.0), (0.0, 1.0), (-1.0, 0.0)

#: More than one look at the graph brings.
MANY = 300

PHOTO, OTHER_PHOTO = "aa" * 32, "bb" * 32


class Index:
    """The index of one tenant with one version, filled without a network."""

    def __init__(self, rows: Rows, tenant: int = TENANT) -> None:
        self.rows = rows
        self.tenant = tenant

    def ask(self, name: str, photo: str = PHOTO, action: IndexAction = IndexAction.PUT) -> UUID:
        """Submit a request about an item."""
        return self.rows.add(
            api_key_id=self.tenant,
            catalog="shop",
            external_id=name,
            input=None,
            input_sha256=photo,
            input_bytes=3,
            index_action=action,
        )

    def claim(self) -> dict[UUID, Claim]:
        """Claim all that waits."""
        return {claim.id: claim for claim in self.rows.claim(limit=MANY)}

    def write(self, claims: Sequence[Claim], *places: tuple[float, float]) -> set[UUID]:
        """Store where the network placed each."""
        embeddings.ensure_index(
            self.rows.connection,
            model_version_id=self.rows.version.model_version_id,
            api_key_id=self.tenant,
            dimensions=2,
        )
        computed = [
            Computed(id=claim.id, fence=claim.fence, embedding=place)
            for claim, place in zip(claims, places, strict=True)
        ]
        return embeddings.write(self.rows.connection, computed)

    def put(self, name: str, place: tuple[float, float], photo: str = PHOTO, **options: Any) -> bool:
        """Put an item from request to completion; whether it is in the index."""
        prediction_id = self.ask(name, photo, **options)
        claim = self.claim()[prediction_id]
        written = self.write([claim], place)
        ledger.complete(self.rows.connection, [success(claim)])
        return prediction_id in written

    def near(self, *places: tuple[float, float], limit: int = 10, item_id: int | None = None) -> list[list[str]]:
        """Names of the items near each place, nearest first."""
        version_id = self.rows.version.model_version_id
        statement = text("SELECT id FROM similarity_indexes WHERE model_version_id = :version AND api_key_id = :tenant")
        found = self.rows.connection.execute(statement, {"version": version_id, "tenant": self.tenant})
        queries = [Query(id=uuid4(), item_id=item_id, embedding=place) for place in places]
        near = embeddings.search(
            self.rows.connection, index_id=found.scalar_one(), dimensions=2, queries=queries, limit=limit
        )
        return [[each.external_id for each in near.get(query.id, [])] for query in queries]


@pytest.fixture
def version(database: Database, committed: Rows) -> ServedVersion:  # noqa: ARG001 - removes what is committed
    """A version of a similarity model."""
    with open_session(database) as session:
        return add_model(session, "places", max_batch=MANY)


@pytest.fixture
def index(committed: Rows, version: ServedVersion) -> Index:
    return Index(Rows(committed.connection, version))


@pytest.fixture
def in_thread() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as pool:
        yield pool


def test_items_are_found_nearest_first(index: Index) -> None:
    for name, place in (("west", WEST), ("north", NORTH), ("east", EAST)):
        assert index.put(name, place)

    assert index.near(EAST, WEST) == [["east", "north", "west"], ["west", "north", "east"]]


def test_distances_are_euclidean(index: Index) -> None:
    index.put("north", NORTH)
    [request] = embeddings.read_requests(index.rows.connection, [index.ask("east")]).values()

    assert request.index_id is not None
    query = Query(id=uuid4(), item_id=None, embedding=EAST)
    found = embeddings.search(index.rows.connection, index_id=request.index_id, dimensions=2, queries=[query], limit=1)
    assert found[query.id][0].distance == pytest.approx(2**0.5)


def test_no_more_are_found_than_asked_for(index: Index) -> None:
    for name in "abc":
        index.put(name, EAST)

    assert len(index.near(EAST, limit=2)[0]) == 2


def test_many_removed_items_do_not_hide_the_others(index: Index) -> None:
    ids = [index.ask(str(number)) for number in range(MANY)]
    claims = index.claim()
    index.write([claims[each] for each in ids], *[EAST] * MANY)
    index.put("north", NORTH)
    index.rows.connection.execute(
        text("DELETE FROM indexed_items WHERE prediction_id = ANY(CAST(:ids AS uuid[]))"),
        {"ids": [str(i) for i in ids]},
    )

    assert index.near(EAST) == [["north"]]


def test_an_item_is_not_its_own_neighbour(index: Index) -> None:
    index.put("east", EAST)
    index.put("north", NORTH)
    item_id = index.rows.connection.execute(text("SELECT id FROM items WHERE external_id = 'east'")).scalar_one()

    assert index.near(EAST, item_id=item_id) == [["north"]]


def test_a_second_photo_takes_the_place_of_the_first(index: Index) -> None:
    index.put("1", EAST)
    index.put("2", NORTH)

    index.put("1", WEST, OTHER_PHOTO)

    assert index.near(EAST) == [["2", "1"]]


def test_the_later_request_wins_though_it_finishes_first(index: Index) -> None:
    first, last = index.ask("1", PHOTO), index.ask("1", OTHER_PHOTO)
    claims = index.claim()

    assert index.write([claims[last]], EAST) == {last}
    assert index.write([claims[first]], WEST) == set()

    assert _photo(index) == OTHER_PHOTO


def test_the_later_of_two_requests_in_one_batch_wins(index: Index) -> None:
    first, last = index.ask("1", PHOTO), index.ask("1", OTHER_PHOTO)
    claims = index.claim()

    assert index.write([claims[last], claims[first]], EAST, WEST) == {last}

    assert _photo(index) == OTHER_PHOTO


def test_a_put_that_is_written_twice_is_written_once(index: Index) -> None:
    prediction_id = index.ask("1")
    claims = index.claim()

    for _ in range(2):
        assert index.write([claims[prediction_id]], EAST) == {prediction_id}

    assert index.near(EAST) == [["1"]]


def test_a_worker_that_lost_its_claim_writes_nothing(index: Index) -> None:
    prediction_id = index.ask("1")
    stale = index.claim()[prediction_id]
    ledger.release(index.rows.connection, [stale], keep_attempt=True)

    assert index.write([stale], EAST) == set()

    assert index.near(EAST) == [[]]


def test_a_claim_whose_worker_dies_is_put_by_the_next(index: Index) -> None:
    prediction_id = index.ask("1")
    index.claim()
    ledger.release_dead_worker(index.rows.connection, host="elsewhere", pid=1)
    index.rows._worker_id = None

    assert index.write([index.claim()[prediction_id]], EAST) == {prediction_id}


def test_a_removed_item_is_not_put_back_by_a_request_before(index: Index, database: Database) -> None:
    index.put("1", EAST)
    before = index.ask("1", OTHER_PHOTO)
    claims = index.claim()

    with open_session(database) as session:
        canceled = remove_indexed_item(session, index.rows.version, api_key_id=TENANT, catalog="shop", external_id="1")

    assert [entry.event.id for entry in canceled] == [str(before)]
    assert index.write([claims[before]], WEST) == set()
    assert index.near(EAST) == [[]]


def test_a_removal_waits_for_the_put_that_is_being_written_and_removes_it(
    index: Index, database: Database, in_thread: ThreadPoolExecutor
) -> None:
    prediction_id = index.ask("1")
    claim = index.claim()[prediction_id]
    index.write([], *[])
    with database.connect() as writing, writing.begin():
        embeddings.write(writing, [Computed(id=claim.id, fence=claim.fence, embedding=EAST)])
        removing: Future[None] = in_thread.submit(_remove, database, index.rows.version)
        wait_until(lambda: _somebody_waits(index.rows.connection))

    removing.result()
    assert index.near(EAST) == [[]]


def test_removing_what_is_not_there_is_told(index: Index, database: Database) -> None:
    with pytest.raises(UnknownItemError):
        _remove(database, index.rows.version)


def test_tenants_have_indexes_of_their_own(index: Index) -> None:
    other = Index(index.rows, OTHER_TENANT)
    index.put("mine", EAST)
    other.put("theirs", EAST)

    assert (index.near(EAST), other.near(EAST)) == ([["mine"]], [["theirs"]])


def test_versions_have_indexes_of_their_own(index: Index, database: Database, committed: Rows) -> None:
    second = _second_version(database, committed)
    index.put("1", EAST)

    assert _missing(second) == ["1"]
    assert second.put("1", WEST, action=IndexAction.REFRESH)

    assert _missing(second) == []
    assert (index.near(EAST), second.near(EAST)) == ([["1"]], [["1"]])


def test_a_version_that_has_not_seen_the_new_photo_does_not_find_the_item(
    index: Index, database: Database, committed: Rows
) -> None:
    second = _second_version(database, committed)
    index.put("1", EAST)
    second.put("1", WEST, action=IndexAction.REFRESH)

    second.put("1", NORTH, OTHER_PHOTO)

    assert (index.near(EAST), second.near(EAST)) == ([[]], [["1"]])
    assert _missing(index) == ["1"]


def test_an_embedding_of_an_older_photo_is_not_taken(index: Index, database: Database, committed: Rows) -> None:
    second = _second_version(database, committed)
    index.put("1", EAST)
    late = second.ask("1", PHOTO, IndexAction.REFRESH)
    claims = second.claim()
    index.put("1", NORTH, OTHER_PHOTO)

    assert second.write([claims[late]], WEST) == set()


def test_refreshing_an_item_that_was_removed_does_not_put_it_back(index: Index, database: Database) -> None:
    index.put("1", EAST)
    late = index.ask("1", PHOTO, IndexAction.REFRESH)
    claims = index.claim()
    _remove(database, index.rows.version)

    assert index.write([claims[late]], EAST) == set()


def test_what_is_on_its_way_is_not_missing(index: Index, database: Database, committed: Rows) -> None:
    second = _second_version(database, committed)
    index.put("1", EAST)
    second.ask("1", PHOTO, IndexAction.REFRESH)

    assert _missing(second) == []
    assert (_count_missing(second), _count_open(second)) == (1, 1)


@pytest.mark.parametrize(("retry_failed", "missing"), [(False, []), (True, ["1"])])
def test_what_failed_is_tried_again_only_when_asked(
    index: Index, database: Database, committed: Rows, retry_failed: bool, missing: list[str]
) -> None:
    second = _second_version(database, committed)
    index.put("1", EAST)
    failed = second.ask("1", PHOTO, IndexAction.REFRESH)
    second.claim()
    committed.connection.execute(
        text("UPDATE predictions SET status = 'failed', error_code = 'internal' WHERE id = :id"), {"id": failed}
    )

    assert _missing(second, retry_failed=retry_failed) == missing


def test_an_embedding_of_another_length_is_refused(index: Index) -> None:
    index.put("1", EAST)
    prediction_id = index.ask("2")
    claim = index.claim()[prediction_id]

    with pytest.raises(DBAPIError, match=r"dimensions|expected 2"):
        embeddings.write(index.rows.connection, [Computed(id=claim.id, fence=claim.fence, embedding=(1.0, 0.0, 0.0))])


def test_an_index_is_made_once(index: Index) -> None:
    for _ in range(2):
        index.write([])

    made = index.rows.connection.execute(text("SELECT count(*) FROM similarity_indexes")).scalar_one()
    assert made == 1


def test_a_search_goes_through_the_graph(index: Index) -> None:
    index.put("1", EAST)
    connection = index.rows.connection
    [request] = embeddings.read_requests(connection, [index.ask("2")]).values()
    statement = "EXPLAIN " + embeddings_sql.SEARCH.format(index_id=request.index_id, dimensions=2)

    plan = connection.exec_driver_sql(statement, {"rows": "[]", "limit": 10}).scalars()

    assert any(f"Index Scan using hnsw_embeddings_{request.index_id}" in line for line in plan)


def _photo(index: Index) -> str:
    statement = text("SELECT photo_sha256 FROM indexed_items")
    return str(index.rows.connection.execute(statement).scalar_one())


def _remove(database: Database, version: ServedVersion) -> None:
    with open_session(database) as session:
        remove_indexed_item(session, version, api_key_id=TENANT, catalog="shop", external_id="1")


def _second_version(database: Database, committed: Rows) -> Index:
    with open_session(database) as session:
        return Index(Rows(committed.connection, add_model(session, "places", number=2)))


def _missing(index: Index, *, retry_failed: bool = False) -> list[str]:
    found = embeddings.find_missing(
        index.rows.connection,
        model_id=index.rows.version.model_id,
        model_version_id=index.rows.version.model_version_id,
        limit=10,
        retry_failed=retry_failed,
    )
    return [each.external_id for each in found]


def _count_missing(index: Index) -> int:
    version = index.rows.version
    return embeddings.count_missing(
        index.rows.connection, model_id=version.model_id, model_version_id=version.model_version_id
    )


def _count_open(index: Index) -> int:
    return embeddings.count_open_refreshes(index.rows.connection, model_version_id=index.rows.version.model_version_id)


def _somebody_waits(connection: Connection) -> bool:
    waiting = text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
    return bool(connection.execute(waiting).scalar_one())


def test_an_item_tells_whether_the_version_finds_it(index: Index, database: Database, committed: Rows) -> None:
    second = _second_version(database, committed)
    index.put("1", EAST)

    with open_session(database) as session:
        found = [
            get_indexed_item(session, each.rows.version, api_key_id=TENANT, catalog="shop", external_id="1").indexed
            for each in (index, second)
        ]

    assert found == [True, False]
