"""Listing predictions, and all that is known of an item."""

from typing import Any

import pytest

from schemas.enums import Scope
from tests.factories import picture
from tests.integration.serving import Api
from tests.integration.webapp.conftest import ApiFor
from tests.integration.webapp.problems import assert_problem


def test_predictions_are_listed_newest_first(api_for: ApiFor) -> None:
    api = api_for(Scope.PREDICT, Scope.READ)
    ids = [api.predict_xor().get_json()["id"] for _ in range(3)]

    body = api.get("/v1/predictions").get_json()

    assert ([each["id"] for each in body["data"]], body["next_cursor"]) == (ids[::-1], None)


def test_pages_follow_each_other_without_gap(api_for: ApiFor) -> None:
    api = api_for(Scope.PREDICT, Scope.READ)
    ids = [api.predict_xor().get_json()["id"] for _ in range(5)]

    pages = [api.get("/v1/predictions", query_string={"limit": 2}).get_json()]
    while cursor := pages[-1]["next_cursor"]:
        pages.append(api.get("/v1/predictions", query_string={"limit": 2, "cursor": cursor}).get_json())

    assert [[each["id"] for each in page["data"]] for page in pages] == [ids[:2:-1], ids[2:0:-1], ids[:1]]


FILTERS: list[tuple[dict[str, Any], int]] = [
    ({}, 2),
    ({"model": "xor"}, 1),
    ({"model": "xor", "version": 1}, 1),
    ({"model": "xor", "version": 2}, 0),
    ({"model": "nope"}, 0),
    ({"status": "succeeded"}, 2),
    ({"status": "queued"}, 0),
    ({"created_after": "0001-01-01T00:00:00Z"}, 2),
    ({"created_after": "9999-12-31T23:59:59Z"}, 0),
    ({"created_before": "2020-01-01T00:00:00+14:00"}, 0),
]


@pytest.mark.parametrize(("query", "count"), FILTERS)
def test_a_list_holds_what_was_asked_for(api_for: ApiFor, query: dict[str, Any], count: int) -> None:
    api = api_for(Scope.PREDICT, Scope.READ)
    api.predict_xor()
    api.predict_photo(picture())

    assert len(api.get("/v1/predictions", query_string=query).get_json()["data"]) == count


def test_all_that_is_known_of_an_item_is_listed(api: Api) -> None:
    item = {"catalog": "shop 1", "external_id": "ä:42"}
    ids = [api.predict_xor(query_string=item).get_json()["id"] for _ in range(2)]

    body = api.get("/v1/items/shop 1/ä:42/predictions").get_json()

    assert [each["id"] for each in body["data"]] == ids[::-1]
    assert body["data"][0]["item"] == item


def test_the_predictions_of_an_item_are_paged(api: Api) -> None:
    ids = [api.predict_xor(query_string={"catalog": "shop", "external_id": "7"}).get_json()["id"] for _ in range(3)]

    first = api.get("/v1/items/shop/7/predictions", query_string={"limit": 2}).get_json()
    last = api.get("/v1/items/shop/7/predictions", query_string={"cursor": first["next_cursor"]}).get_json()

    assert [each["id"] for each in first["data"] + last["data"]] == ids[::-1]


def test_an_unknown_item_is_unknown(api: Api) -> None:
    assert_problem(api.get("/v1/items/shop/never/predictions"), 404, "unknown-item")
