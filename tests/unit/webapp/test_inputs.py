"""`webapp.inputs`: any body, read or refused with the field at fault; never another error."""

import json
from contextlib import suppress
from io import BytesIO
from typing import Any
from zlib import crc32

import pytest
from flask import Request
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.test import EnvironBuilder

from store.models import ServedVersion
from tests.factories import VECTOR_CONFIG, picture
from webapp.errors import InvalidInputError, MalformedBodyError, UnsupportedMediaError, WebError
from webapp.inputs import Input, read_input

MAX_PIXELS = 1_000_000

PICTURES = {kind: picture(kind, "RGB", (16, 16)) for kind in ("PNG", "JPEG", "WEBP")}

BODIES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["input", "x"]), inner, max_size=2),
    max_leaves=5,
)


def version(**model_input: Any) -> ServedVersion:
    """A version that takes a certain input."""
    return ServedVersion(
        model_id=1,
        model_version_id=1,
        model="m",
        number=1,
        kind="classification",
        config=VECTOR_CONFIG | {"input": model_input},
        weights_sha256="00" * 32,
    )


TAKES_PICTURES = version(type="image", size=28)
TAKES_NUMBERS = version(type="vector", size=2)
TAKES_RECORDS = version(
    type="record",
    fields=[
        {"name": "carat", "type": "number", "min": 0.1, "max": 6, "unit": "ct"},
        {"name": "cut", "type": "choice", "choices": ["Fair", "Ideal"]},
    ],
)


def read(body: bytes, content_type: str, served: ServedVersion) -> Input:
    """Read a body as a view does."""
    builder = EnvironBuilder(method="POST", input_stream=BytesIO(body), content_length=len(body))
    return read_input(Request(builder.get_environ() | {"CONTENT_TYPE": content_type}), served, MAX_PIXELS)


def test_numbers_are_kept_as_they_were_sent() -> None:
    found = read(b'{"input": [0, 0.5]}', "application/json", TAKES_NUMBERS)

    assert (found.value, found.data, found.size) == ([0, 0.5], None, None)


def test_the_same_numbers_have_the_same_hash() -> None:
    bodies = (b'{"input": [0, 1]}', b'{ "input":[0,1] }')

    assert len({read(body, "application/json", TAKES_NUMBERS).sha256 for body in bodies}) == 1


def test_a_record_is_kept_as_it_was_sent() -> None:
    found = read(b'{"input": {"cut": "Ideal", "carat": 1}}', "application/json", TAKES_RECORDS)

    assert (found.value, found.data, found.size) == ({"cut": "Ideal", "carat": 1}, None, None)


def test_the_same_record_has_the_same_hash_in_any_order() -> None:
    bodies = (b'{"input": {"cut": "Ideal", "carat": 1}}', b'{"input": {"carat": 1, "cut": "Ideal"}}')

    assert len({read(body, "application/json", TAKES_RECORDS).sha256 for body in bodies}) == 1


@pytest.mark.parametrize(
    ("value", "field", "detail"),
    [
        ({"carat": 1}, "input.cut", "is missing; it must be one of: Fair, Ideal"),
        ({"carat": 1, "cut": "Fair", "colour": "E"}, "input.colour", "is unknown; the fields are carat, cut"),
        ({"carat": 1, "cut": "fair"}, "input.cut", "must be one of: Fair, Ideal"),
        ({"carat": "1", "cut": "Fair"}, "input.carat", "must be a finite number from 0.1 to 6 ct"),
        ({"carat": 7, "cut": "Fair"}, "input.carat", "must be a finite number from 0.1 to 6 ct"),
        ([1, 0], "input", "must be an object with the fields carat, cut"),
    ],
)
def test_a_record_that_does_not_fit_names_the_field(value: object, field: str, detail: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        read(json.dumps({"input": value}).encode(), "application/json", TAKES_RECORDS)

    assert (caught.value.field, str(caught.value)) == (field, detail)


def test_a_picture_for_a_model_that_takes_records_is_told_what_to_send() -> None:
    with pytest.raises(UnsupportedMediaError, match=r'takes application/json: \{"input": \{names: values\}\}'):
        read(PICTURES["PNG"], "image/png", TAKES_RECORDS)


@pytest.mark.parametrize("kind", PICTURES)
def test_a_picture_is_kept_byte_by_byte(kind: str) -> None:
    found = read(PICTURES[kind], "application/octet-stream", TAKES_PICTURES)

    assert (found.value, found.data, found.size) == (None, PICTURES[kind], len(PICTURES[kind]))


@pytest.mark.parametrize("content_type", ["application/json", "application/json; charset=utf-8", "APPLICATION/JSON"])
def test_json_is_known_by_its_type(content_type: str) -> None:
    assert read(b'{"input": [0, 1]}', content_type, TAKES_NUMBERS).value == [0, 1]


def test_a_picture_of_just_so_many_pixels_is_read() -> None:
    assert read(picture(size=(1000, 1000)), "image/png", TAKES_PICTURES)


@pytest.mark.parametrize("size", [(1001, 1000), (10_000, 10_000), (20_000, 20_000)])
def test_a_picture_of_more_pixels_is_refused_before_they_are_decoded(size: tuple[int, int]) -> None:
    with pytest.raises(InvalidInputError, match="more than 1 megapixels"):
        read(_with_size(PICTURES["PNG"], size), "image/png", TAKES_PICTURES)


@pytest.mark.parametrize("size", [(7, 100), (100, 7)])
def test_a_picture_with_too_short_a_side_says_how_short(size: tuple[int, int]) -> None:
    with pytest.raises(InvalidInputError, match=f"is {size[0]}x{size[1]} pixels"):
        read(picture(size=size), "image/png", TAKES_PICTURES)


def test_a_jpeg_may_be_followed_by_its_makers_own_data() -> None:
    assert read(PICTURES["JPEG"] + bytes(100), "image/jpeg", TAKES_PICTURES)


@pytest.mark.parametrize("kind", PICTURES)
@given(cut=st.floats(0.0, 0.97))
def test_a_picture_that_is_cut_off_anywhere_is_refused(kind: str, cut: float) -> None:
    data = PICTURES[kind][: 1 + int(len(PICTURES[kind]) * cut)]

    with pytest.raises(InvalidInputError):
        read(data, "image/png", TAKES_PICTURES)


def test_a_jpeg_that_is_cut_off_is_refused_though_a_thumbnail_within_it_is_whole() -> None:
    data = picture("JPEG", "RGB", (64, 64), comment=PICTURES["JPEG"])

    with pytest.raises(InvalidInputError, match="cut off"):
        read(data[: len(data) * 9 // 10], "image/jpeg", TAKES_PICTURES)


@pytest.mark.parametrize("kind", PICTURES)
@given(changes=st.dictionaries(st.integers(0, 200), st.integers(0, 255), min_size=1, max_size=8))
def test_a_damaged_picture_is_read_or_refused_and_nothing_else(kind: str, changes: dict[int, int]) -> None:
    data = bytearray(PICTURES[kind])
    for position, value in changes.items():
        data[position] = value

    _read_or_refuse(bytes(data), "image/png", TAKES_PICTURES)


@given(body=BODIES)
@pytest.mark.parametrize(
    "served", [TAKES_NUMBERS, TAKES_PICTURES, TAKES_RECORDS], ids=["numbers", "pictures", "records"]
)
def test_any_json_is_read_or_refused_and_nothing_else(served: ServedVersion, body: object) -> None:
    _read_or_refuse(json.dumps(body).encode(), "application/json", served)


@given(body=st.binary(max_size=50))
@pytest.mark.parametrize(
    "content_type", ["application/json", "image/png", "multipart/form-data; boundary=x", "", "a/b"]
)
def test_any_bytes_are_refused_and_nothing_else(content_type: str, body: bytes) -> None:
    with pytest.raises(WebError):
        read(body, content_type, TAKES_PICTURES)


def _read_or_refuse(body: bytes, content_type: str, served: ServedVersion) -> None:
    with suppress(InvalidInputError, MalformedBodyError, UnsupportedMediaError):
        read(body, content_type, served)


def _with_size(png: bytes, size: tuple[int, int]) -> bytes:
    """Claim another size in the header of a PNG."""
    header = b"IHDR" + size[0].to_bytes(4, "big") + size[1].to_bytes(4, "big") + png[24:29]
    return png[:12] + header + crc32(header).to_bytes(4, "big") + png[33:]
