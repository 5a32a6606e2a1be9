"""`schemas.records`: what a configuration may declare, and which records fit it."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.records import (
    ChoiceField,
    Field,
    InvalidFieldsError,
    InvalidRecordError,
    NumberField,
    encode_record,
    read_fields,
)

FIELDS = (
    NumberField(name="carat", minimum=0.1, maximum=6, unit="ct"),
    ChoiceField(name="cut", choices=("Fair", "Good", "Ideal")),
    NumberField(name="x"),
)

GOOD: dict[str, Any] = {"carat": 0.7, "cut": "Ideal", "x": -3}

ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(sorted(GOOD)), inner),
    max_leaves=6,
)


def test_numbers_stay_and_choices_become_their_place_in_the_order_of_the_fields() -> None:
    assert encode_record(FIELDS, {"x": -3, "cut": "Ideal", "carat": 0.7}) == [0.7, 2.0, -3.0]


@pytest.mark.parametrize("carat", [0.1, 6, 6.0])
def test_the_bounds_belong_to_the_range(carat: float) -> None:
    assert encode_record(FIELDS, {**GOOD, "carat": carat})[0] == carat


@pytest.mark.parametrize("record", [None, 7, "carat", [0.7, "Ideal", 1], True])
def test_what_is_no_object_is_told_the_fields(record: object) -> None:
    with pytest.raises(InvalidRecordError, match="must be an object with the fields carat, cut, x") as caught:
        encode_record(FIELDS, record)
    assert caught.value.field == ""


@pytest.mark.parametrize("name", GOOD)
def test_a_missing_field_is_named_with_what_it_must_be(name: str) -> None:
    record = {key: value for key, value in GOOD.items() if key != name}
    with pytest.raises(InvalidRecordError, match="is missing; it must be ") as caught:
        encode_record(FIELDS, record)
    assert caught.value.field == name


def test_an_unknown_field_is_named_with_the_known() -> None:
    with pytest.raises(InvalidRecordError, match="colour is unknown; the fields are carat, cut, x"):
        encode_record(FIELDS, {**GOOD, "colour": "E"})


@pytest.mark.parametrize("value", ["Excellent", "ideal", "", None, 2, True, ["Ideal"], {}])
def test_what_is_no_choice_is_told_the_choices(value: object) -> None:
    with pytest.raises(InvalidRecordError, match="cut must be one of: Fair, Good, Ideal"):
        encode_record(FIELDS, {**GOOD, "cut": value})


@pytest.mark.parametrize(
    "value", ["0.7", None, True, [0.7], {}, math.nan, math.inf, -math.inf, 0.0999, 6.001, -1, 10**400]
)
def test_what_is_no_number_of_the_range_is_told_the_range_and_unit(value: object) -> None:
    with pytest.raises(InvalidRecordError, match=r"carat must be a finite number from 0\.1 to 6 ct"):
        encode_record(FIELDS, {**GOOD, "carat": value})


@pytest.mark.parametrize("value", [math.nan, math.inf, 1e39, -(10**400)])
def test_a_number_without_range_must_still_fit_the_networks_numbers(value: float) -> None:
    with pytest.raises(InvalidRecordError, match=r"x must be a finite number$"):
        encode_record(FIELDS, {**GOOD, "x": value})


@given(record=ANY_JSON)
def test_any_json_is_encoded_or_refused_and_nothing_else(record: object) -> None:
    try:
        assert len(encode_record(FIELDS, record)) == len(FIELDS)
    except InvalidRecordError:
        return


def test_fields_are_read_from_a_configuration() -> None:
    declared = [
        {"name": "carat", "type": "number", "min": 0.1, "max": 6, "unit": "ct"},
        {"name": "cut", "type": "choice", "choices": ["Fair", "Good", "Ideal"]},
        {"name": "x", "type": "number"},
    ]
    assert read_fields(declared) == FIELDS


def test_what_a_network_standardises_by_is_read() -> None:
    [field] = read_fields([{"name": "x", "type": "number", "mean": 5.7, "std": 1.1}])
    assert isinstance(field, NumberField)
    assert (field.mean, field.std) == (5.7, 1.1)


@pytest.mark.parametrize(
    ("field", "words"),
    [
        (NumberField(name="n"), "a finite number"),
        (NumberField(name="n", minimum=0), "a finite number of at least 0"),
        (NumberField(name="n", maximum=9, unit="mm"), "a finite number of at most 9 mm"),
        (NumberField(name="n", minimum=1, maximum=2), "a finite number from 1 to 2"),
        (ChoiceField(name="c", choices=("a", "b")), "one of: a, b"),
    ],
)
def test_what_is_expected_is_said_in_words(field: Field, words: str) -> None:
    assert field.expected == words


NUMBER = {"name": "n", "type": "number"}
CHOICE = {"name": "c", "type": "choice", "choices": ["a", "b"]}


@pytest.mark.parametrize(
    ("declared", "place"),
    [
        (None, "fields"),
        ([], "fields"),
        ("number", "fields"),
        ({"n": NUMBER}, "fields"),
        ([NUMBER, NUMBER], "fields"),
        (["n"], "fields[0]"),
        ([NUMBER, {"type": "number"}], "fields[1].name"),
        ([{**NUMBER, "name": ""}], "fields[0].name"),
        ([{"name": "n"}], "fields[0].type"),
        ([{**NUMBER, "type": "text"}], "fields[0].type"),
        ([{**NUMBER, "min": "0"}], "fields[0].min"),
        ([{**NUMBER, "min": True}], "fields[0].min"),
        ([{**NUMBER, "max": math.inf}], "fields[0].max"),
        ([{**NUMBER, "min": 2, "max": 2}], "fields[0].max"),
        ([{**NUMBER, "mean": math.nan}], "fields[0].mean"),
        ([{**NUMBER, "std": 0}], "fields[0].std"),
        ([{**NUMBER, "unit": 1}], "fields[0].unit"),
        ([{**CHOICE, "choices": None}], "fields[0].choices"),
        ([{**CHOICE, "choices": ["a"]}], "fields[0].choices"),
        ([{**CHOICE, "choices": ["a", 1]}], "fields[0].choices"),
        ([{**CHOICE, "choices": ["a", "a"]}], "fields[0].choices"),
    ],
)
def test_a_wrong_declaration_is_named(declared: object, place: str) -> None:
    with pytest.raises(InvalidFieldsError) as caught:
        read_fields(declared)
    assert caught.value.field == place
    assert caught.value.detail.startswith("must ")
