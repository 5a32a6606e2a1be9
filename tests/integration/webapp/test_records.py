"""Records: named values in, a price with its interval out; whatever does not fit is refused by its name."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Engine as Database
from sqlalchemy import text

from schemas.models import RECORD_EXAMPLE
from tests.factories import DIAMOND, autocommit
from tests.integration.serving import Api
from tests.integration.webapp.problems import assert_problem

CHOICES = "Fair, Good, Very Good, Premium, Ideal"


def ask(api: Api, diamond: object) -> Any:
    return api.predict("diamond-price", json={"input": diamond})


def test_a_diamond_gets_its_price_and_an_interval(api: Api) -> None:
    result = ask(api, DIAMOND).get_json()["result"]

    assert (result["unit"], result["interval"]) == ("USD", 0.8)
    # It was sold for 2,359 US dollars.
    assert 1_900 < result["low"] < result["value"] < result["high"] < 2_900


def test_a_heavier_diamond_costs_more(api: Api) -> None:
    heavy = {**DIAMOND, "carat": 1.5, "x": 7.35, "y": 7.4, "z": 4.55}

    assert ask(api, heavy).get_json()["result"]["value"] > 3 * ask(api, DIAMOND).get_json()["result"]["value"]


def test_the_example_of_the_document_is_answered(api: Api) -> None:
    assert ask(api, RECORD_EXAMPLE).get_json()["status"] == "succeeded"


def test_the_order_of_the_fields_changes_nothing(api: Api) -> None:
    backwards = dict(reversed(DIAMOND.items()))

    assert ask(api, backwards).get_json()["result"] == ask(api, DIAMOND).get_json()["result"]


WRONG: dict[str, tuple[object, str, str]] = {
    "a missing choice": ({name: DIAMOND[name] for name in DIAMOND if name != "cut"}, "input.cut", CHOICES),
    "a missing number": ({name: DIAMOND[name] for name in DIAMOND if name != "z"}, "input.z", "from 1 to 9 mm"),
    "an unknown field": ({**DIAMOND, "colour": "E"}, "input.colour", "carat, cut, color"),
    "an unknown choice": ({**DIAMOND, "cut": "Excellent"}, "input.cut", CHOICES),
    "a choice as a number": ({**DIAMOND, "cut": 4}, "input.cut", CHOICES),
    "a choice as null": ({**DIAMOND, "color": None}, "input.color", "D, E, F, G, H, I, J"),
    "a number as text": ({**DIAMOND, "carat": "0.7"}, "input.carat", "from 0.1 to 6 ct"),
    "a truth value": ({**DIAMOND, "depth": True}, "input.depth", "from 40 to 80 %"),
    "a side that was not measured": ({**DIAMOND, "x": 0}, "input.x", "from 2 to 12 mm"),
    "more than there is": ({**DIAMOND, "carat": 1e39}, "input.carat", "finite number"),
    "a list": (list(DIAMOND.values()), "input", "an object with the fields carat"),
    "a word": ("diamond", "input", "an object with the fields carat"),
    "nothing": (None, "input", "an object with the fields carat"),
    "an empty record": ({}, "input.carat", "is missing"),
}


@pytest.fixture
def _stores_nothing(api: Api, database: Database) -> Iterator[None]:  # noqa: ARG001 - its rows are counted
    with autocommit(database) as connection:
        before = connection.scalar(text("SELECT count(*) FROM predictions"))
        yield
        assert connection.scalar(text("SELECT count(*) FROM predictions")) == before


@pytest.mark.usefixtures("_stores_nothing")
@pytest.mark.parametrize(("diamond", "field", "expected"), WRONG.values(), ids=WRONG)
def test_a_record_that_does_not_fit_names_the_field_and_what_it_must_be(
    api: Api, diamond: object, field: str, expected: str
) -> None:
    response = ask(api, diamond)

    assert_problem(response, 422, "invalid-input", field)
    assert expected in response.get_json()["detail"]


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999"])
def test_a_number_that_is_no_json_is_malformed(api: Api, number: str) -> None:
    body = json.dumps({"input": {**DIAMOND, "carat": 0}}).replace('"carat": 0', f'"carat": {number}')

    assert_problem(api.predict("diamond-price", data=body, content_type="application/json"), 400, "malformed-body")


def test_a_picture_is_refused_with_what_to_send(api: Api) -> None:
    response = api.predict("diamond-price", data=b"JPEG", content_type="image/jpeg")

    assert_problem(response, 415, "unsupported-media-type")
    assert '{"input": {names: values}}' in response.get_json()["detail"]
