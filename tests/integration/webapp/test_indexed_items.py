"""Items of a similarity model: put, found, replaced, removed, and seen by nobody else."""

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Engine as Database

from schemas.enums import Scope
from schemas.indexed_items import IndexedItemPageSchema, IndexedItemSchema
from schemas.predictions import PredictionSchema
from tests.factories import clean_rows, picture
from tests.integration.serving import Api, BackgroundWorker
from tests.integration.webapp.conftest import LONG, NO_WAIT, ApiFor
from tests.integration.webapp.problems import assert_problem
from tests.running import SAMPLES

MODEL = "fashion-similar"
ITEMS = f"/v1/models/{MODEL}/items"

SANDAL, OTHER_SANDAL = (SAMPLES / "sandal-01.png").read_bytes(), (SAMPLES / "sandal-02.jpg").read_bytes()
BAG, TROUSER = (SAMPLES / "bag-01.png").read_bytes(), (SAMPLES / "trouser-01.png").read_bytes()


@pytest.fixture(autouse=True)
def _empty_indexes(database: Database) -> Iterator[None]:
    yield
    clean_rows(database)


@pytest.fixture
def shop(api_for: ApiFor) -> Api:
    """A tenant."""
    return api_for(Scope.PREDICT, Scope.READ)


@pytest.fixture
def rival(api_for: ApiFor) -> Api:
    """Another tenant."""
    return api_for(Scope.PREDICT, Scope.READ)


def put(api: Api, name: str, photo: bytes, **options: Any) -> Any:
    """Put an item and wait for it."""
    fields = {"data": photo, "content_type": "application/octet-stream", "headers": LONG}
    return api.call("PUT", f"{ITEMS}/shop/{name}", **fields | options)


def found(api: Api, photo: bytes, **options: Any) -> list[str]:
    """Names of the items that a search finds, nearest first."""
    answer = api.predict(MODEL, data=photo, content_type="application/octet-stream", headers=LONG, **options)
    return [item["external_id"] for item in answer.get_json()["result"]["items"]]


def test_a_put_item_is_answered_like_a_prediction(shop: Api) -> None:
    body = put(shop, "1", SANDAL).get_json()

    assert PredictionSchema().validate(body) == {}
    assert (body["status"], body["item"]) == ("succeeded", {"catalog": "shop", "external_id": "1"})
    assert (body["result"]["indexed"], body["result"]["photo_url"]) == (True, f"{ITEMS}/shop/1/photo")


def test_a_search_finds_the_nearest_item_first(shop: Api) -> None:
    for name, photo in (("bag", BAG), ("sandal", SANDAL), ("trouser", TROUSER)):
        put(shop, name, photo)

    assert found(shop, OTHER_SANDAL)[0] == "sandal"
    assert set(found(shop, OTHER_SANDAL)) == {"bag", "sandal", "trouser"}


def test_the_same_photo_is_at_distance_0_and_can_be_read(shop: Api) -> None:
    put(shop, "sandal", SANDAL)

    [item] = shop.predict(MODEL, data=SANDAL, content_type="image/png").get_json()["result"]["items"]

    assert item["distance"] == 0.0
    assert shop.get(item["photo_url"]).data == SANDAL


def test_no_answer_holds_the_embedding(shop: Api) -> None:
    put(shop, "sandal", SANDAL)

    assert "embedding" not in shop.predict(MODEL, data=SANDAL, content_type="image/png").get_data(as_text=True)


def test_a_search_for_an_item_leaves_that_item_out(shop: Api) -> None:
    put(shop, "sandal", SANDAL)
    put(shop, "bag", BAG)

    assert found(shop, SANDAL, query_string={"catalog": "shop", "external_id": "sandal"}) == ["bag"]


def test_a_search_in_an_empty_index_finds_nothing(shop: Api) -> None:
    assert found(shop, SANDAL) == []


def test_at_most_as_many_are_found_as_the_model_says(shop: Api) -> None:
    for number in range(11):
        put(shop, str(number), picture())

    assert len(found(shop, SANDAL)) == 10


def test_a_replaced_photo_changes_the_neighbours(shop: Api) -> None:
    put(shop, "1", BAG)
    put(shop, "2", TROUSER)

    put(shop, "2", SANDAL)

    assert found(shop, OTHER_SANDAL) == ["2", "1"]
    assert shop.get(f"{ITEMS}/shop/2/photo").data == SANDAL
    assert shop.get(ITEMS).get_json()["count"] == 2


def test_a_removed_item_is_found_no_more(shop: Api) -> None:
    put(shop, "1", BAG)
    put(shop, "2", SANDAL)

    assert shop.call("DELETE", f"{ITEMS}/shop/2").status_code == 204

    assert found(shop, SANDAL) == ["1"]
    assert_problem(shop.get(f"{ITEMS}/shop/2"), 404, "unknown-item")
    assert_problem(shop.get(f"{ITEMS}/shop/2/photo"), 404, "unknown-item")


def test_removing_twice_is_told(shop: Api) -> None:
    put(shop, "1", BAG)
    shop.call("DELETE", f"{ITEMS}/shop/1")

    assert_problem(shop.call("DELETE", f"{ITEMS}/shop/1"), 404, "unknown-item")


@pytest.mark.usefixtures("no_worker")
def test_removing_an_item_that_is_still_to_be_put_cancels_that(shop: Api) -> None:
    queued = put(shop, "1", BAG, headers=NO_WAIT)

    assert shop.call("DELETE", f"{ITEMS}/shop/1").status_code == 204

    assert queued.status_code == 202
    assert shop.get(queued.headers["Location"]).get_json()["status"] == "canceled"


def test_the_later_request_wins_whichever_is_computed_first(shop: Api, worker: BackgroundWorker) -> None:
    with worker.paused():
        put(shop, "1", BAG, headers=NO_WAIT, query_string={"priority": "bulk"})
        last = put(shop, "1", SANDAL, headers=NO_WAIT, query_string={"priority": "interactive"})
    shop.get(last.headers["Location"], headers=LONG)

    assert shop.get(f"{ITEMS}/shop/1/photo").data == SANDAL
    assert found(shop, OTHER_SANDAL) == ["1"]


def test_an_item_whose_new_photo_cannot_be_used_stays_as_it_was(shop: Api) -> None:
    put(shop, "1", BAG)

    assert_problem(put(shop, "1", picture(size=(64, 64))[:-40] + b"IEND\xaeB`\x82"), 422, "invalid-input", "input")

    assert shop.get(f"{ITEMS}/shop/1/photo").data == BAG


def test_items_of_another_key_are_neither_found_nor_read_nor_removed(shop: Api, rival: Api, api: Api) -> None:
    put(shop, "1", BAG)
    put(rival, "2", TROUSER)

    for other in (rival, api):
        assert "1" not in found(other, BAG)
        assert "1" not in [item["external_id"] for item in other.get(ITEMS).get_json()["data"]]
        for method, path in (("GET", "1"), ("GET", "1/photo"), ("DELETE", "1")):
            assert_problem(other.call(method, f"{ITEMS}/shop/{path}"), 404, "unknown-item")


def test_two_keys_may_have_items_of_the_same_name(shop: Api, rival: Api) -> None:
    put(shop, "1", BAG)
    put(rival, "1", SANDAL)

    rival.call("DELETE", f"{ITEMS}/shop/1")

    assert shop.get(f"{ITEMS}/shop/1/photo").data == BAG


def test_items_are_listed_page_by_page(shop: Api) -> None:
    for name in ("a", "b", "c"):
        put(shop, name, SANDAL)

    first = shop.get(ITEMS, query_string={"limit": 2}).get_json()
    second = shop.get(ITEMS, query_string={"limit": 2, "cursor": first["next_cursor"]}).get_json()

    assert IndexedItemPageSchema().validate(first) == {}
    assert [item["external_id"] for page in (first, second) for item in page["data"]] == ["a", "b", "c"]
    assert (first["count"], second["next_cursor"]) == (3, None)


def test_an_item_tells_its_photo_and_whether_it_is_found(shop: Api) -> None:
    put(shop, "1", BAG)

    item = shop.get(f"{ITEMS}/shop/1").get_json()

    assert IndexedItemSchema().validate(item) == {}
    assert (item["indexed"], item["photo_url"]) == (True, f"{ITEMS}/shop/1/photo")


def test_a_photo_is_served_as_what_it_is(shop: Api) -> None:
    put(shop, "1", OTHER_SANDAL)

    assert shop.get(f"{ITEMS}/shop/1/photo").content_type == "image/jpeg"


def test_the_same_put_under_one_idempotency_key_is_one_prediction(shop: Api) -> None:
    headers = LONG | {"Idempotency-Key": "import-7"}

    first, second = (put(shop, "1", BAG, headers=headers) for _ in range(2))

    assert second.headers["Idempotent-Replayed"] == "true"
    assert first.get_json()["id"] == second.get_json()["id"]
    assert_problem(put(shop, "2", BAG, headers=headers), 409, "idempotency-key-reused")


@pytest.mark.parametrize("path", ["", "/shop/1", "/shop/1/photo"])
def test_a_model_of_another_kind_keeps_no_items(shop: Api, path: str) -> None:
    assert_problem(shop.get(f"/v1/models/fashion/items{path}"), 409, "no-index")


def test_a_name_that_is_too_long_is_told(shop: Api) -> None:
    assert_problem(put(shop, "1" * 256, BAG), 422, "invalid-input", "external_id")


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"data": b""}, (400, "malformed-body")),
        ({"data": b"no picture"}, (422, "invalid-input", "input")),
        ({"content_type": "text/plain"}, (415, "unsupported-media-type")),
        ({"query_string": {"priority": "soon"}}, (422, "invalid-request", "priority")),
        ({"headers": {"Prefer": "wait=soon"}}, (400, "invalid-header")),
    ],
)
def test_a_put_that_cannot_be_read_puts_nothing(
    shop: Api, changes: dict[str, Any], problem: tuple[int, str] | tuple[int, str, str]
) -> None:
    assert_problem(put(shop, "1", BAG, **changes), *problem)

    assert shop.get(ITEMS).get_json()["count"] == 0


def test_a_key_that_may_only_read_puts_and_removes_nothing(api_for: ApiFor) -> None:
    reader = api_for(Scope.READ)

    assert_problem(put(reader, "1", BAG), 403, "scope-too-small")
    assert_problem(reader.call("DELETE", f"{ITEMS}/shop/1"), 403, "scope-too-small")
