"""`tasks.masks`: what a segmentation's result becomes before it is stored."""

import json
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from ml.predictor import File
from store.errors import ObjectsUnavailableError
from store.ledger_rows import Claim
from store.objects import ObjectStore
from tasks.masks import MaskFinisher
from tests.factories import break_store

FILES = [File("image/png", b"first"), File("image/png", b"second"), File("image/png", b"first")]
CLAIMS = [
    Claim(id=UUID(int=number), fence=1, model_version_id=1, input=None, input_sha256="ab" * 32)
    for number in range(len(FILES))
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "objects"


@pytest.fixture
def objects(folder: Path) -> ObjectStore:
    return ObjectStore(f"file://{folder}")


def results() -> list[dict[str, Any]]:
    return [{"classes": [], "mask": {"file": file, "width": 9, "height": 8, "legend": []}} for file in FILES]


def test_each_mask_is_stored_under_the_hash_that_its_result_tells(objects: ObjectStore) -> None:
    finished = MaskFinisher(objects).finish(CLAIMS, results())
    assert [objects.get(result["mask"]["sha256"]) for result in finished] == [file.data for file in FILES]


def test_each_result_says_where_its_own_mask_is_read(objects: ObjectStore) -> None:
    finished = MaskFinisher(objects).finish(CLAIMS, results())
    assert [result["mask"]["url"] for result in finished] == [f"/v1/predictions/{claim.id}/mask" for claim in CLAIMS]


def test_the_rest_of_a_result_stays_and_is_json(objects: ObjectStore) -> None:
    finished = MaskFinisher(objects).finish(CLAIMS, results())[0]
    assert json.loads(json.dumps(finished)) == finished
    assert (finished["classes"], finished["mask"]["width"], finished["mask"]["height"]) == ([], 9, 8)


def test_finishing_again_after_an_outage_gives_the_same(folder: Path, objects: ObjectStore) -> None:
    finisher, given = MaskFinisher(objects), results()
    break_store(folder)
    with pytest.raises(ObjectsUnavailableError):
        finisher.finish(CLAIMS, given)
    folder.unlink()
    folder.mkdir()
    assert finisher.finish(CLAIMS, given) == MaskFinisher(objects).finish(CLAIMS, results())
