"""Asking a model, in each of the ways that it takes."""

import base64
import io

import pytest
from werkzeug.test import TestResponse

from schemas.predictions import PredictionSchema
from tests.factories import picture
from tests.integration.serving import Api
from tests.running import SAMPLES

PHOTO = (SAMPLES / "sandal-01.png").read_bytes()


def test_a_finished_prediction_is_answered_whole(api: Api) -> None:
    body = api.predict_xor().get_json()

    assert PredictionSchema().validate(body) == {}
    assert (body["model"], body["version"], body["status"], body["error"]) == ("xor", 1, "succeeded", None)
    assert (body["attempt"], body["device"], body["item"]) == (1, "cpu:0", None)


def test_what_is_answered_is_what_is_read_later(api: Api) -> None:
    body = api.predict_xor(query_string={"catalog": "shop", "external_id": "42", "priority": "bulk"}).get_json()

    assert api.get(f"/v1/predictions/{body['id']}").get_json() == body
    assert (body["item"], body["priority"]) == ({"catalog": "shop", "external_id": "42"}, "bulk")


@pytest.mark.parametrize(("numbers", "label"), [([0, 0], "0"), ([0, 1], "1"), ([1.0, 0.0], "1"), ([1, 1], "0")])
def test_numbers_are_answered(api: Api, numbers: list[float], label: str) -> None:
    assert api.predict("xor", json={"input": numbers}).get_json()["result"]["label"] == label


@pytest.mark.parametrize("content_type", ["image/png", "image/jpeg", "application/octet-stream", "image/png; a=b"])
def test_a_photo_is_answered_whatever_picture_it_is_called(api: Api, content_type: str) -> None:
    assert _label(api.predict_photo(PHOTO, content_type)) == "Sandal"


def test_a_photo_in_a_form_is_answered(api: Api) -> None:
    assert _label(api.predict("fashion", data={"file": (io.BytesIO(PHOTO), "photo.png")})) == "Sandal"


def test_a_photo_as_base64_is_answered(api: Api) -> None:
    assert _label(api.predict("fashion", json={"input": base64.b64encode(PHOTO).decode()})) == "Sandal"


@pytest.mark.parametrize(
    ("kind", "mode"),
    [
        ("PNG", "1"),
        ("PNG", "L"),
        ("PNG", "LA"),
        ("PNG", "I;16"),
        ("PNG", "P"),
        ("PNG", "RGB"),
        ("PNG", "RGBA"),
        ("JPEG", "L"),
        ("JPEG", "RGB"),
        ("JPEG", "CMYK"),
        ("WEBP", "RGB"),
        ("WEBP", "RGBA"),
    ],
)
def test_a_picture_of_any_mode_is_answered(api: Api, kind: str, mode: str) -> None:
    assert api.predict_photo(picture(kind, mode, (64, 48))).get_json()["status"] == "succeeded"


def test_the_least_picture_is_answered(api: Api) -> None:
    assert api.predict_photo(picture(size=(8, 8))).get_json()["status"] == "succeeded"


def test_a_version_can_be_asked_for(api: Api) -> None:
    assert api.predict_xor(query_string={"version": 1}).get_json()["version"] == 1


def _label(response: TestResponse) -> str:
    label: str = response.get_json()["result"]["label"]
    return label
