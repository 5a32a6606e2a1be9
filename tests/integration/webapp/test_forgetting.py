"""Forgetting an item over HTTP."""

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Engine as Database

from schemas.enums import Scope
from schemas.forgetting import ForgottenItemSchema
from schemas.model_settings import MEBIBYTE, CacheSettings, ModelSettings
from store.database import open_session
from store.models import configure
from tests.factories import picture
from tests.integration.serving import Api
from tests.integration.webapp.conftest import LONG, NO_WAIT, ApiFor, InThread
from tests.integration.webapp.problems import assert_problem
from tests.running import wait_until

ITEM = {"catalog": "shop", "external_id": "gone"}

PATH = "/v1/items/shop/gone"

SCOPES = Scope.PREDICT, Scope.READ, Scope.FEEDBACK


def forget(api: Api) -> Any:
    return api.call("DELETE", PATH)


def test_all_that_is_known_of_an_item_goes(api_for: ApiFor) -> None:
    api = api_for(*SCOPES)
    prediction_id = api.predict_photo(picture(), query_string=ITEM).get_json()["id"]
    api.call("PUT", f"/v1/predictions/{prediction_id}/feedback", json={"label": "Bag"})

    body = forget(api).get_json()

    assert ForgottenItemSchema().validate(body) == {}
    assert (body["predictions"], body["feedback"], body["versions"], body["trainings"]) == (1, 1, [], [])
    assert body["objects"] == {"removed": 1, "kept": 0, "pending": 0}
    assert_problem(api.get(f"/v1/predictions/{prediction_id}"), 404, "unknown-prediction")
    assert_problem(api.get(f"{PATH}/predictions"), 404, "unknown-item")
    assert_problem(forget(api), 404, "unknown-item")


def test_another_tenants_item_of_the_same_name_stays(api_for: ApiFor) -> None:
    mine, theirs = api_for(*SCOPES), api_for(*SCOPES)
    photo = picture()
    for api in (mine, theirs):
        api.predict_photo(photo, query_string=ITEM)

    assert forget(mine).get_json()["objects"] == {"removed": 0, "kept": 1, "pending": 0}
    assert len(theirs.get(f"{PATH}/predictions").get_json()["data"]) == 1
    assert_problem(forget(mine), 404, "unknown-item")


def test_a_key_needs_the_scope(api_for: ApiFor) -> None:
    assert_problem(forget(api_for(Scope.READ)), 403, "scope-too-small")


@pytest.mark.usefixtures("no_worker")
def test_who_waits_for_an_answer_about_it_is_told(api_for: ApiFor, in_thread: InThread) -> None:
    api = api_for(*SCOPES)
    api.predict_xor(query_string=ITEM, headers=NO_WAIT)
    waiting = in_thread(lambda: api.predict_xor(query_string=ITEM, headers=LONG))
    wait_until(lambda: len(api.get(f"{PATH}/predictions").get_json()["data"]) == 2)

    assert forget(api).get_json()["canceled"] == 2
    assert waiting.result(10).get_json()["status"] == "canceled"


@pytest.fixture
def _remembering(database: Database) -> Iterator[None]:
    """The model remembers answers while the test runs."""
    with open_session(database) as session:
        settings = ModelSettings(cache=CacheSettings(ttl_s=600, max_bytes=MEBIBYTE))
        configure(session, name="xor", settings=settings)
    yield
    with open_session(database) as session:
        configure(session, name="xor", settings=ModelSettings())


@pytest.mark.usefixtures("_remembering")
def test_no_answer_about_it_is_given_from_memory(api_for: ApiFor) -> None:
    api = api_for(*SCOPES)
    # Web processes see it within a second.
    wait_until(lambda: api.predict_xor(query_string=ITEM).get_json()["cached"])

    forget(api)

    wait_until(lambda: not api.predict_xor(query_string={**ITEM, "external_id": "new"}).get_json()["cached"])
