"""Files that would run code or take all memory, at every door of the API that takes files with tensors."""

import io
from pathlib import Path

import pytest
import safetensors.torch
import torch
from sqlalchemy import Engine as Database
from sqlalchemy import text

from store.objects import ObjectStore
from tests.integration.serving import Api
from tests.unit.ml.test_never_unpickled import KINDS, hostile_files

#: The web process reads posted data itself, so each kind is tried there. An upload is read by the code of `import`,
#: in a process that takes seconds to start.
UPLOADED = ("a torch file with code", "a header of 200 MB that is not there", "a bomb of zeros")


@pytest.fixture(scope="module")
def mark(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file that code from a hostile file makes when it runs."""
    return tmp_path_factory.mktemp("hostile") / "it-ran"


@pytest.fixture(scope="module")
def files(mark: Path) -> dict[str, bytes]:
    """All hostile files."""
    return hostile_files(mark)


@pytest.mark.parametrize("kind", KINDS)
def test_posted_data_that_is_hostile_is_refused(
    api: Api, database: Database, files: dict[str, bytes], mark: Path, kind: str
) -> None:
    response = api.post("/v1/models/xor/trainings", data=files[kind], content_type="application/x-safetensors")

    assert response.status_code in {413, 422}, response.text
    assert not mark.exists()
    assert _count(database, "trainings") == 0


@pytest.mark.parametrize("kind", UPLOADED)
def test_an_upload_that_is_hostile_is_refused(
    api: Api, database: Database, files: dict[str, bytes], mark: Path, kind: str
) -> None:
    before = _count(database, "model_versions")

    response = api.post("/v1/models/xor/versions", data={"weights": (_file(files[kind]), "weights.safetensors")})

    assert response.status_code == 422, response.text
    assert response.get_json()["field"] == "weights"
    assert not mark.exists()
    assert _count(database, "model_versions") == before


def test_the_process_that_reads_an_upload_knows_no_password(
    api: Api,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    objects: ObjectStore,  # noqa: ARG001 - takes the file
) -> None:
    checker = tmp_path / "checker_that_tells.py"
    told = tmp_path / "environment"
    checker.write_text(f"import os, pathlib, sys; pathlib.Path({str(told)!r}).write_text(str(dict(os.environ)))")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
    monkeypatch.setenv("TORCHQUEUE_DATABASE_URL", "postgresql://somebody:hunter2pass@elsewhere/torchqueue")
    monkeypatch.setenv("TORCHQUEUE_FLOWER_AUTH", "admin:hunter2pass")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2pass")
    monkeypatch.setattr("webapp.uploads.CHECKER_MODULE", checker.stem)

    weights = safetensors.torch.save({"weight": torch.zeros(1)})
    api.post("/v1/models/xor/versions", data={"weights": (_file(weights), "weights.safetensors")})

    assert "PATH" in told.read_text()
    assert "hunter2pass" not in told.read_text()


def _file(content: bytes) -> io.BytesIO:
    return io.BytesIO(content)


def _count(database: Database, table: str) -> int:
    with database.connect() as connection:
        return int(connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one())
