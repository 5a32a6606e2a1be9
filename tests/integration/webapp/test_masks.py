"""Masks: from a picture of garments to a PNG that only its owner reads."""

import io
import json
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
from flask import Flask
from PIL import Image

from schemas.enums import Scope
from tests.integration.serving import Api
from tests.integration.webapp.conftest import NO_WAIT, ApiFor
from tests.integration.webapp.problems import assert_problem
from tests.running import SAMPLES
from webapp.services import EXTENSION

SCENES: dict[str, list[str]] = json.loads((SAMPLES / "scenes.json").read_text())
SCENE = (SAMPLES / "scene-01.jpg").read_bytes()


def segment(api: Api, data: bytes = SCENE, **options: Any) -> dict[str, Any]:
    """Ask about a scene; returns the prediction."""
    response = api.predict("garments", data=data, content_type="image/jpeg", **options)
    body: dict[str, Any] = response.get_json()
    return body


@pytest.mark.parametrize("name", SCENES)
def test_the_garments_of_a_scene_are_found(api: Api, name: str) -> None:
    result = segment(api, (SAMPLES / name).read_bytes())["result"]
    assert sorted(found["label"] for found in result["classes"]) == sorted(SCENES[name])


def test_boxes_lie_in_the_picture_and_areas_add_up_to_less_than_it(api: Api) -> None:
    result = segment(api)["result"]
    width, height = result["picture"]["width"], result["picture"]["height"]
    for found in result["classes"]:
        for left, top, right, bottom in found["boxes"]:
            assert 0 <= left < right <= width
            assert 0 <= top < bottom <= height
    assert 0 < sum(found["area"] for found in result["classes"]) < 1


def test_the_mask_is_read_where_the_result_says_and_agrees_with_it(api: Api) -> None:
    result = segment(api)["result"]
    response = api.get(result["mask"]["url"])
    assert (response.status_code, response.content_type) == (200, "image/png")
    indices_hw = np.asarray(Image.open(io.BytesIO(response.data)))
    assert indices_hw.shape == (result["mask"]["height"], result["mask"]["width"])
    areas = {entry["label"]: float((indices_hw == entry["index"]).mean()) for entry in result["mask"]["legend"]}
    assert areas == pytest.approx({found["label"]: found["area"] for found in result["classes"]}, abs=1e-4)


def test_a_mask_is_kept_by_its_reader_alone_and_under_its_hash(api: Api) -> None:
    mask = segment(api)["result"]["mask"]
    response = api.get(mask["url"])
    assert sha256(response.data).hexdigest() == mask["sha256"]
    assert response.headers["ETag"] == f'"{mask["sha256"]}"'
    assert response.headers["Cache-Control"] == "private, max-age=31536000, immutable"


def test_a_mask_that_the_caller_has_is_not_sent_again(api: Api) -> None:
    mask = segment(api)["result"]["mask"]
    same = api.get(mask["url"], headers={"If-None-Match": f'"{mask["sha256"]}"'})
    other = api.get(mask["url"], headers={"If-None-Match": '"another"'})
    assert (same.status_code, same.data, same.headers["ETag"]) == (304, b"", f'"{mask["sha256"]}"')
    assert other.status_code == 200


def test_another_tenants_mask_is_not_there(api_for: ApiFor) -> None:
    owner, other = api_for(Scope.PREDICT, Scope.READ), api_for(Scope.READ)
    url = segment(owner)["result"]["mask"]["url"]
    assert owner.get(url).status_code == 200
    assert_problem(other.get(url), 404, "unknown-prediction")


def test_a_key_that_may_not_read_gets_no_mask(api_for: ApiFor) -> None:
    api = api_for(Scope.PREDICT)
    assert_problem(api.get(segment(api)["result"]["mask"]["url"]), 403, "scope-too-small")


def test_a_prediction_of_another_kind_has_no_mask(api: Api) -> None:
    prediction = api.predict_xor().get_json()
    response = api.get(f"/v1/predictions/{prediction['id']}/mask")
    assert_problem(response, 404, "no-mask")
    assert "'xor', whose results have no mask" in response.get_json()["detail"]


@pytest.mark.usefixtures("no_worker")
def test_a_prediction_that_waits_has_no_mask_yet(api: Api) -> None:
    prediction = segment(api, headers=NO_WAIT)
    response = api.get(f"/v1/predictions/{prediction['id']}/mask")
    assert_problem(response, 404, "no-mask")
    assert response.get_json()["detail"].endswith("is queued; it has no mask yet")


def test_an_unknown_prediction_has_no_mask(api: Api) -> None:
    assert_problem(api.get(f"/v1/predictions/{uuid4()}/mask"), 404, "unknown-prediction")


def test_a_mask_that_was_removed_is_not_there(api: Api, app: Flask) -> None:
    mask = segment(api)["result"]["mask"]
    digest, folder = mask["sha256"], Path(app.extensions[EXTENSION].settings.object_url.removeprefix("file://"))
    path = folder / digest[:2] / digest[2:4] / digest
    kept = path.read_bytes()
    path.unlink()
    response = api.get(mask["url"])
    assert_problem(response, 404, "no-mask")
    assert response.get_json()["detail"].endswith("is no longer stored")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(kept)
