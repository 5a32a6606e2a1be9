"""`webapp.feedback_lines`: files of feedback, read or refused by the line."""

import json
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from store.errors import InvalidLabelError
from store.feedback import Correction
from store.models import ServedVersion
from tests.factories import VECTOR_CONFIG
from webapp.errors import BadLineError, MalformedBodyError, UnsupportedMediaError
from webapp.feedback_lines import CSV, NDJSON, Line, read_lines

ID = "0198c9a2-7f3e-7cc1-a4b5-2f6d8e9a0b1c"

NUMBERS = {"kind": "regression", "config": {"kind_options": {}}}


def version(**changes: Any) -> ServedVersion:
    fields: dict[str, Any] = {"kind": "classification", "config": VECTOR_CONFIG}
    return ServedVersion(
        model_id=1, model_version_id=1, model="m", number=1, weights_sha256="00" * 32, **fields | changes
    )


def read(content_type: str, body: str | bytes, **changes: Any) -> list[Line]:
    data = body.encode() if isinstance(body, str) else body
    return list(read_lines(content_type, data, version(**changes)))


def test_a_line_of_ndjson_names_a_prediction() -> None:
    body = f'{{"prediction": "{ID}", "label": "1", "source": "desk", "weight": 2}}'

    correction = Correction(prediction_id=UUID(ID), label="1", source="desk", weight=2.0)
    assert read(NDJSON, body) == [Line(1, correction)]


def test_a_line_of_ndjson_names_an_item() -> None:
    [line] = read(NDJSON, '{"catalog": "shop", "external_id": "42", "label": "1"}')

    assert line.correction == Correction(catalog="shop", external_id="42", label="1")


def test_empty_lines_are_skipped_and_counted() -> None:
    body = f'\n{{"prediction": "{ID}", "label": "1"}}\r\n\r\n{{"prediction": "{ID}", "label": "0"}}\n'

    assert [line.number for line in read(NDJSON, body)] == [2, 4]


BAD: list[tuple[Any, str]] = [
    ("no json", "is no JSON"),
    ([1], "must be a JSON object"),
    ({"prediction": ID}, "lacks `label`"),
    ({"prediction": ID, "label": None}, "lacks `label`"),
    ({"label": "1"}, "either `prediction`, or"),
    ({"catalog": "shop", "label": "1"}, "either `prediction`, or"),
    ({"prediction": ID, "catalog": "shop", "external_id": "42", "label": "1"}, "either `prediction`, or"),
    ({"prediction": "42", "label": "1"}, "`prediction` is no id: '42'"),
    ({"prediction": 42, "label": "1"}, "`prediction` is no id"),
    ({"prediction": ID, "label": "1", "lable": "1"}, "unknown member 'lable'"),
    ({"catalog": "", "external_id": "42", "label": "1"}, "`catalog` must be a text"),
    ({"catalog": "shop", "external_id": "a\0b", "label": "1"}, "`external_id` must be a text"),
    ({"prediction": ID, "label": "1", "source": 7}, "`source` must be a text"),
    ({"prediction": ID, "label": "1", "source": "x" * 256}, "`source` must be a text"),
    ({"prediction": ID, "label": "1", "weight": 0}, "`weight` must be above 0 and at most 1000"),
    ({"prediction": ID, "label": "1", "weight": "2"}, "`weight` must be a number"),
    ({"prediction": ID, "label": "1", "weight": True}, "`weight` must be a number"),
]


@pytest.mark.parametrize(("content", "sentence"), BAD)
def test_a_bad_line_is_told_and_the_next_is_read(content: Any, sentence: str) -> None:
    bad = content if isinstance(content, str) else json.dumps(content)

    first, second = read(NDJSON, f'{bad}\n{{"prediction": "{ID}", "label": "1"}}')

    assert isinstance(first.error, BadLineError)
    assert sentence in str(first.error)
    assert second.correction is not None


def test_a_table_is_read_by_the_names_of_its_columns() -> None:
    lines = read(CSV, f'\ufefflabel,prediction,weight\n1,{ID},2.5\n"0",{ID},\n')

    assert [(line.number, line.correction) for line in lines] == [
        (2, Correction(prediction_id=UUID(ID), label="1", weight=2.5)),
        (3, Correction(prediction_id=UUID(ID), label="0")),
    ]


def test_a_row_over_two_lines_is_named_by_its_first() -> None:
    body = f'prediction,label,source\n{ID},1,"returns\ndesk"\n{ID},1,\n'

    assert [line.number for line in read(CSV, body)] == [2, 4]


def test_rows_of_a_table_may_name_predictions_or_items() -> None:
    lines = read(CSV, f"prediction,catalog,external_id,label\n{ID},,,1\n,shop,42,0\n")

    assert [line.correction and line.correction.catalog for line in lines] == [None, "shop"]


def test_a_number_of_a_table_is_a_number() -> None:
    [line] = read(CSV, f"prediction,label\n{ID},12.5\n", **NUMBERS)

    assert line.correction is not None
    assert line.correction.label == 12.5


def test_a_cell_that_is_no_number_is_told() -> None:
    [line] = read(CSV, f"prediction,label\n{ID},dear\n", **NUMBERS)

    assert isinstance(line.error, InvalidLabelError)


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        (f"{ID},1", "has 2 cells; the first line names 3 columns"),
        (f"{ID},1,heavy", "`weight` is no number: 'heavy'"),
        (f"{ID},1,nan", "`weight` must be a number"),
    ],
)
def test_a_bad_row_is_told(row: str, sentence: str) -> None:
    [line] = read(CSV, f"prediction,label,weight\n{row}\n")

    assert sentence in str(line.error)


def test_an_empty_label_is_left_to_the_kind() -> None:
    [line] = read(CSV, f"prediction,label\n{ID},\n", kind="segmentation", config={"labels": ["none", "Bag"]})

    assert line.correction == Correction(prediction_id=UUID(ID), label=[])


@pytest.mark.parametrize(
    ("header", "sentence"),
    [
        ("prediction,source", "lacks the column 'label'"),
        ("catalog,label", "lacks the column 'external_id'"),
        ("prediction,label,colour", "unknown column 'colour'"),
        ("prediction,label,label", "names a column twice"),
        ("", "lacks the column"),
    ],
)
def test_a_table_with_other_columns_is_refused(header: str, sentence: str) -> None:
    with pytest.raises(MalformedBodyError, match=sentence):
        read(CSV, f"{header}\n{ID},1\n")


def test_a_table_that_is_no_text_is_refused() -> None:
    with pytest.raises(MalformedBodyError, match="no text in UTF-8"):
        read(CSV, b"\xff\xfe\x00")


def test_another_format_is_refused() -> None:
    with pytest.raises(UnsupportedMediaError, match="application/x-ndjson or text/csv"):
        read("application/json", "[]")


@given(st.binary(max_size=200) | st.text(alphabet='{}[]":,1abl \n\\"', max_size=200).map(str.encode))
def test_any_bytes_are_lines_that_are_good_or_told(body: bytes) -> None:
    for line in read(NDJSON, body):
        assert (line.correction is None) != (line.error is None)


@given(st.text(alphabet='",\n\r\0ab1', max_size=100))
def test_any_text_under_a_header_is_rows_that_are_good_or_told(text: str) -> None:
    for line in read(CSV, f"prediction,label\n{text}"):
        assert (line.correction is None) != (line.error is None)
