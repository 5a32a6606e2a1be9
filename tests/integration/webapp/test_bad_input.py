"""Every kind of bad input gets its problem document, and the next good request is answered."""

import base64
import io
import json
import struct
import zlib
from collections.abc import Iterator
from typing import Any

import pytest

from tests.factories import picture
from tests.integration.serving import Api
from tests.integration.webapp.problems import assert_problem
from tests.running import SAMPLES

PHOTO = (SAMPLES / "sandal-01.png").read_bytes()
JPEG = (SAMPLES / "sandal-02.jpg").read_bytes()

MEGABYTE = 1024 * 1024


def png_header(width: int, height: int) -> bytes:
    """A whole PNG file of any size that holds next to no pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"\0" * 100)), (b"IEND", b"")]
    body = b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.fixture(autouse=True)
def _next_good_requests_are_answered(api: Api) -> Iterator[None]:
    yield
    assert api.predict_xor().get_json()["result"]["label"] == "1"
    assert api.predict_photo(PHOTO).get_json()["result"]["label"] == "Sandal"


PICTURES = {
    "a text file named .jpg": b"this is no picture",
    "HTML": b"<!doctype html><p>no picture",
    "a GIF": picture("GIF"),
    "a TIFF": picture("TIFF"),
    "a PDF": b"%PDF-1.7\n",
    "a signature alone": b"\x89PNG\r\n\x1a\n",
    "a truncated JPEG": JPEG[: len(JPEG) // 2],
    "a JPEG without its last bytes": JPEG[:-2],
    "a truncated PNG": PHOTO[: len(PHOTO) // 2],
    "a truncated WebP": picture("WEBP", "RGB")[:-100],
    "one pixel": picture(size=(1, 1)),
    "a line": picture(size=(500, 7)),
    "a bomb of 100 megapixels": png_header(10_000, 10_000),
    "a bomb of 4 gigapixels": png_header(65_000, 65_000),
    "a PNG whose pixels are missing": png_header(100, 100),
    "zeros": bytes(1000),
}


@pytest.mark.parametrize("data", PICTURES.values(), ids=PICTURES)
def test_a_file_that_is_no_usable_picture_names_the_input(api: Api, data: bytes) -> None:
    assert_problem(api.predict_photo(data, "image/jpeg"), 422, "invalid-input", "input")


@pytest.mark.parametrize("data", PICTURES.values(), ids=PICTURES)
def test_a_base64_picture_is_checked_alike(api: Api, data: bytes) -> None:
    response = api.predict("fashion", json={"input": base64.b64encode(data).decode()})

    assert_problem(response, 422, "invalid-input", "input")


def test_a_picture_that_only_its_worker_could_judge_tells_its_prediction(api: Api) -> None:
    response = api.predict_photo(png_header(100, 100))

    prediction = api.get(f"/v1/predictions/{response.get_json()['prediction']}").get_json()
    assert (prediction["status"], prediction["error"]["code"]) == ("failed", "invalid_input")


@pytest.mark.parametrize("content_type", ["image/png", "application/octet-stream", None])
def test_an_empty_body_is_malformed(api: Api, content_type: str | None) -> None:
    assert_problem(api.predict("fashion", data=b"", content_type=content_type), 400, "malformed-body")


def test_a_body_of_13_megabytes_is_too_large(api: Api) -> None:
    assert_problem(api.predict_photo(bytes(13 * MEGABYTE)), 413, "too-large")


def test_a_form_of_13_megabytes_is_too_large(api: Api) -> None:
    part = b'--x\r\nContent-Disposition: form-data; name="file"; filename="photo.jpg"\r\n\r\n'
    form = part + bytes(13 * MEGABYTE) + b"\r\n--x--\r\n"

    assert_problem(api.predict_photo(form, "multipart/form-data; boundary=x"), 413, "too-large")


@pytest.mark.parametrize("content_type", ["text/plain", "application/pdf", "video/mp4", "nonsense", ""])
def test_a_wrong_content_type_is_refused(api: Api, content_type: str) -> None:
    assert_problem(api.predict_photo(PHOTO, content_type), 415, "unsupported-media-type")


def test_a_picture_for_a_model_that_takes_numbers_is_refused(api: Api) -> None:
    assert_problem(api.predict("xor", data=PHOTO, content_type="image/png"), 415, "unsupported-media-type")


@pytest.mark.parametrize("form", [{}, {"file": "no file"}, {"photo": (io.BytesIO(PHOTO), "photo.png")}])
def test_a_form_without_its_file_is_malformed(api: Api, form: dict[str, Any]) -> None:
    assert_problem(api.predict("fashion", data=form, content_type="multipart/form-data"), 400, "malformed-body")


def test_a_form_with_an_empty_file_is_malformed(api: Api) -> None:
    response = api.predict("fashion", data={"file": (io.BytesIO(b""), "photo.png")})

    assert_problem(response, 400, "malformed-body")


def test_a_form_with_too_many_parts_is_too_large(api: Api) -> None:
    response = api.predict("fashion", data={f"part{n}": "x" for n in range(9)}, content_type="multipart/form-data")

    assert_problem(response, 413, "too-large")


NO_JSON = {
    "nothing": "",
    "a word": "hello",
    "half a document": '{"input": [0,',
    "NaN": '{"input": [0, NaN]}',
    "Infinity": '{"input": [0, Infinity]}',
    "negative Infinity": '{"input": [0, -Infinity]}',
    "1e999": '{"input": [0, 1e999]}',
    "a whole number of 400 digits": f'{{"input": [{"9" * 400}, 1]}}',
    "a number of ten thousand digits": f'{{"input": [0, {"9" * 10_000}]}}',
    "nesting without end": "[" * 100_000,
    "bytes that are no text": b'{"input": "\xff\xfe\xfd"}',
}


@pytest.mark.parametrize("body", NO_JSON.values(), ids=NO_JSON)
def test_what_is_no_json_is_malformed(api: Api, body: str | bytes) -> None:
    assert_problem(api.predict("xor", data=body, content_type="application/json"), 400, "malformed-body")


SHAPES: dict[str, tuple[str, str]] = {
    "an array": ("[0, 1]", "input"),
    "a string": ('"input"', "input"),
    "null": ("null", "input"),
    "no input": ("{}", "input"),
    "an unknown field": ('{"input": [0, 1], "model": "xor"}', "model"),
    "no vector": ('{"input": 7}', "input"),
    "a vector of another length": ('{"input": [0, 1, 1]}', "input"),
    "an empty vector": ('{"input": []}', "input"),
    "a word in the vector": ('{"input": [0, "1"]}', "input.1"),
    "a truth value in the vector": ('{"input": [true, 1]}', "input.0"),
    "null in the vector": ('{"input": [null, 1]}', "input.0"),
    "a vector in the vector": ('{"input": [[0], 1]}', "input.0"),
    "more than the network's numbers hold": ('{"input": [0, 1e39]}', "input"),
    "nesting deep within the vector": ('{"input": [' + "[" * 500 + "]" * 500 + ", 1]}", "input.0"),
}


@pytest.mark.parametrize(("body", "field"), SHAPES.values(), ids=SHAPES)
def test_json_of_the_wrong_shape_names_the_field(api: Api, body: str, field: str) -> None:
    response = api.predict("xor", data=body, content_type="application/json")

    assert_problem(response, 422, "invalid-input", field)


@pytest.mark.parametrize("value", [7, None, ["a"], "not base64!", "é", "AAA"])
def test_json_that_holds_no_base64_picture_names_the_input(api: Api, value: object) -> None:
    assert_problem(api.predict("fashion", json={"input": value}), 422, "invalid-input", "input")


def test_a_base64_picture_that_is_empty_is_malformed(api: Api) -> None:
    assert_problem(api.predict("fashion", json={"input": ""}), 400, "malformed-body")


@pytest.mark.parametrize("name", ["nope", "XOR", "%FF", "a" * 5000])
def test_an_unknown_model_is_unknown(api: Api, name: str) -> None:
    assert_problem(api.predict(name, json={"input": [0, 1]}), 404, "unknown-model")


@pytest.mark.parametrize("version", [2, 10**9, 10**30])
def test_an_unknown_version_is_unknown(api: Api, version: int) -> None:
    assert_problem(api.predict_xor(query_string={"version": version}), 404, "unknown-version")


ARGUMENTS = {
    "a version that is no number": ({"version": "first"}, "version"),
    "version 0": ({"version": 0}, "version"),
    "an unknown priority": ({"priority": "urgent"}, "priority"),
    "deadline 0": ({"deadline_ms": 0}, "deadline_ms"),
    "a deadline that is no number": ({"deadline_ms": "soon"}, "deadline_ms"),
    "a deadline of more than a day": ({"deadline_ms": 86_400_001}, "deadline_ms"),
    "a catalog with NUL": ({"catalog": "a\0b", "external_id": "1"}, "catalog"),
    "an empty catalog": ({"catalog": "", "external_id": "1"}, "catalog"),
    "an external id that is too long": ({"catalog": "shop", "external_id": "x" * 256}, "external_id"),
}


@pytest.mark.parametrize(("query", "field"), ARGUMENTS.values(), ids=ARGUMENTS)
def test_a_bad_argument_is_named(api: Api, query: dict[str, Any], field: str) -> None:
    assert_problem(api.predict_xor(query_string=query), 422, "invalid-request", field)


@pytest.mark.parametrize(("given", "missing"), [("catalog", "external_id"), ("external_id", "catalog")])
def test_half_an_item_names_the_other_half(api: Api, given: str, missing: str) -> None:
    assert_problem(api.predict_xor(query_string={given: "42"}), 422, "invalid-input", missing)


@pytest.mark.parametrize("prefer", ["wait=soon", "wait=-1", "wait=1.5", "wait", "wait="])
def test_a_wait_that_is_no_number_is_refused(api: Api, prefer: str) -> None:
    assert_problem(api.predict_xor(headers={"Prefer": prefer}), 400, "invalid-header")


@pytest.mark.parametrize("key", ["", "x" * 256])
def test_an_idempotency_key_of_no_fit_length_is_named(api: Api, key: str) -> None:
    response = api.predict_xor(headers={"Idempotency-Key": key})

    assert_problem(response, 422, "invalid-request", "Idempotency-Key")


def test_an_idempotency_key_that_the_database_cannot_hold_is_refused(api: Api) -> None:
    response = api.predict_xor(headers={"Idempotency-Key": "a\0b"})

    assert_problem(response, 422, "invalid-request", "Idempotency-Key")


@pytest.mark.parametrize("path", ["/v1/predictions/1", "/v1/predictions/not-a-uuid", "/v1/predictions/x/cancel", "/v2"])
def test_a_path_with_a_bad_uuid_leads_nowhere(api: Api, path: str) -> None:
    assert_problem(api.get(path), 404, "unknown-path")


@pytest.mark.parametrize("path", ["/v1/models/xor%00", "/v1/items/shop/%00/predictions", "/%00"])
def test_a_path_with_nul_leads_nowhere(api: Api, path: str) -> None:
    assert_problem(api.get(path), 404, "unknown-path")


def test_a_method_that_a_path_does_not_take_is_refused(api: Api) -> None:
    assert_problem(api.call("DELETE", "/v1/predictions"), 405, "method-not-allowed")


FILTERS = {
    "a cursor that is no id": ({"cursor": "first"}, "cursor"),
    "limit 0": ({"limit": 0}, "limit"),
    "an endless page": ({"limit": 501}, "limit"),
    "an unknown status": ({"status": "done"}, "status"),
    "a time without zone": ({"created_after": "2026-11-20T12:00:00"}, "created_after"),
    "a model with NUL": ({"model": "a\0"}, "model"),
}


@pytest.mark.parametrize(("query", "field"), FILTERS.values(), ids=FILTERS)
def test_a_bad_filter_is_named(api: Api, query: dict[str, Any], field: str) -> None:
    assert_problem(api.get("/v1/predictions", query_string=query), 422, "invalid-request", field)


def test_a_problem_says_what_to_do(api: Api) -> None:
    problem = json.loads(api.predict("nope", json={"input": [0, 1]}).text)

    assert problem == {
        "type": "unknown-model",
        "title": "Not Found",
        "status": 404,
        "detail": "there is no model 'nope'; GET /v1/models lists them",
    }


#: Postgres knows no zone that is so far away; and what lies a day before the first year.
FAR_ZONES = {"2026-07-13T03:09:15-21:31": 200, "0731-11-19T11:08:36+21:35": 200, "0001-01-01T00:00:00+10:00": 422}


@pytest.mark.parametrize(("moment", "status"), FAR_ZONES.items())
@pytest.mark.parametrize("path", ["/v1/predictions?created_after=", "/v1/models/fashion/comparison?since="])
def test_a_moment_is_read_in_any_zone(api: Api, path: str, moment: str, status: int) -> None:
    answer = api.get(path + moment.replace("+", "%2B"))

    assert answer.status_code == status, answer.get_json()


@pytest.mark.parametrize("version", [2**31, 10**30])
def test_a_list_of_a_version_that_no_model_can_have_is_empty(api: Api, version: int) -> None:
    answer = api.get(f"/v1/predictions?model=fashion&version={version}")

    assert (answer.status_code, answer.get_json().get("data")) == (200, [])
