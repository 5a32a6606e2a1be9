"""`store.objects`, in a folder."""

from hashlib import sha256
from pathlib import Path

import pytest

from store.errors import ObjectMissingError, ObjectsUnavailableError
from store.objects import ObjectStore
from tests.factories import break_store


@pytest.fixture
def objects(tmp_path: Path) -> ObjectStore:
    return ObjectStore(f"file://{tmp_path / 'objects'}")


def test_an_object_is_found_under_the_hash_of_its_bytes(objects: ObjectStore) -> None:
    digest = objects.put(b"picture")

    assert digest == sha256(b"picture").hexdigest()
    assert objects.get(digest) == b"picture"


def test_an_empty_object_can_be_stored(objects: ObjectStore) -> None:
    assert objects.get(objects.put(b"")) == b""


def test_the_same_bytes_are_stored_once(objects: ObjectStore, tmp_path: Path) -> None:
    [digest] = {objects.put(b"picture") for _ in range(2)}

    assert [path.name for path in _files(tmp_path)] == [digest]


def test_a_missing_folder_is_made(tmp_path: Path) -> None:
    ObjectStore(f"file://{tmp_path / 'a' / 'b'}").put(b"picture")

    assert len(_files(tmp_path / "a" / "b")) == 1


def test_what_is_not_there_is_named(objects: ObjectStore) -> None:
    with pytest.raises(ObjectMissingError, match="ab" * 32):
        objects.get("ab" * 32)


def test_a_damaged_object_is_not_handed_out(objects: ObjectStore, tmp_path: Path) -> None:
    digest = objects.put(b"picture")
    _files(tmp_path)[0].write_bytes(b"pictvre")

    with pytest.raises(ObjectMissingError, match=f"{digest} is damaged"):
        objects.get(digest)


def test_a_store_that_cannot_be_read_says_so_in_one_line(objects: ObjectStore, tmp_path: Path) -> None:
    digest = objects.put(b"picture")
    break_store(tmp_path / "objects")

    with pytest.raises(ObjectsUnavailableError, match=r"^the object store does not answer: .*Not a directory.*$"):
        objects.get(digest)


def test_a_store_that_cannot_be_written_says_so(objects: ObjectStore, tmp_path: Path) -> None:
    break_store(tmp_path / "objects")

    with pytest.raises(ObjectsUnavailableError):
        objects.put(b"picture")


def test_a_store_is_read_by_another_process_of_the_same_folder(objects: ObjectStore, tmp_path: Path) -> None:
    digest = objects.put(b"picture")

    assert ObjectStore(f"file://{tmp_path / 'objects'}").get(digest) == b"picture"


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]
