"""`torchqueue items` and `models reindex`, beside an API that answers."""

import json
import shutil
from pathlib import Path

import pytest
from sqlalchemy import Engine as Database

from tests.factories import Rows, clean_rows
from tests.integration.stack.conftest import Torchqueue, assert_refused
from tests.running import SAMPLES

MODEL = "fashion-similar"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder with two pictures, and a file that is none."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("sandal-01.png", "bag-02.jpg"):
        shutil.copy(SAMPLES / name, folder / name)
    (folder / "notes.txt").write_text("no picture")
    return folder


@pytest.fixture(autouse=True)
def _empty(database: Database) -> None:
    clean_rows(database)


def test_a_folder_of_pictures_is_added(torchqueue: Torchqueue, running: Path, photos: Path) -> None:
    result = torchqueue("items", "add", MODEL, str(photos), "--var", str(running))

    assert result.output.strip().endswith(f"2 of 2 items are in the index of {MODEL}"), result.output


def test_a_csv_file_names_its_items(torchqueue: Torchqueue, running: Path, photos: Path) -> None:
    (photos / "items.csv").write_text("external_id,file\n42,sandal-01.png\n43,gone.png\n")

    result = torchqueue("items", "add", MODEL, str(photos / "items.csv"), "--json", "--var", str(running))

    report = json.loads(result.output)
    assert (result.exit_code, report["added"]) == (1, 1)
    assert [each["external_id"] for each in report["failed"]] == ["43"]


def test_a_csv_file_without_its_columns_is_refused(torchqueue: Torchqueue, running: Path, photos: Path) -> None:
    (photos / "items.csv").write_text("id,file\n42,sandal-01.png\n")

    result = torchqueue("items", "add", MODEL, str(photos / "items.csv"), "--var", str(running))

    assert_refused(result, ".*lacks the column 'external_id'; it takes external_id and file")


def test_a_folder_without_pictures_is_refused(torchqueue: Torchqueue, running: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()

    assert_refused(torchqueue("items", "add", MODEL, str(tmp_path / "empty"), "--var", str(running)), ".*no picture.*")


def test_an_item_is_removed_once(torchqueue: Torchqueue, running: Path, photos: Path) -> None:
    words = ("items", "remove", MODEL, "default", "bag-02", "--var", str(running))
    torchqueue("items", "add", MODEL, str(photos / "bag-02.jpg"), "--var", str(running))

    assert torchqueue(*words).output == "default/bag-02 is found no more\n"
    assert_refused(torchqueue(*words), "there is no item 'bag-02' of catalog 'default' in this index .*")


def test_an_index_that_is_complete_stays_as_it_is(torchqueue: Torchqueue, running: Path, photos: Path) -> None:
    torchqueue("items", "add", MODEL, str(photos), "--var", str(running))

    result = torchqueue("models", "reindex", MODEL)

    assert result.output.strip() == f"{MODEL} version 1: asked for 0, 0 indexed, 0 left"


def test_an_index_that_lacks_embeddings_is_completed(
    torchqueue: Torchqueue, running: Path, photos: Path, committed: Rows
) -> None:
    torchqueue("items", "add", MODEL, str(photos), "--var", str(running))
    committed.connection.exec_driver_sql("DELETE FROM embeddings")

    result = torchqueue("models", "reindex", MODEL)

    assert result.output.strip() == f"{MODEL} version 1: asked for 2, 2 indexed, 0 left"


def test_a_model_of_another_kind_has_no_index_to_complete(torchqueue: Torchqueue) -> None:
    assert_refused(torchqueue("models", "reindex", "xor"), "model 'xor' keeps no items: its kind is classification")
