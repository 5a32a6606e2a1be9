"""`stack.bootstrap`: what a first start needs, made once."""

import json
import shutil
import stat
from pathlib import Path

from sqlalchemy import Engine as Database
from sqlalchemy import text
from sqlalchemy.orm import Session

from schemas.enums import Scope
from stack.bootstrap import BUNDLED, ensure_admin_key, prepare_database
from store.database import open_session
from store.keys import verify_key
from store.models import resolve
from store.objects import ObjectStore


def test_bundled_models_answer_after_the_first_start(session: Session, objects: ObjectStore) -> None:
    for folder in BUNDLED.iterdir():
        version = resolve(session, folder.name)
        assert objects.get(version.weights_sha256) == (folder / "weights.safetensors").read_bytes()


def test_a_second_start_imports_nothing(database: Database, objects: ObjectStore) -> None:
    assert prepare_database(database, objects) == []


def test_other_models_than_the_bundled_ones_can_be_imported(
    database: Database, objects: ObjectStore, tmp_path: Path
) -> None:
    shutil.copytree(BUNDLED / "xor", tmp_path / "ours")
    config = json.loads((tmp_path / "ours" / "model.json").read_text())
    (tmp_path / "ours" / "model.json").write_text(json.dumps(config | {"name": "ours"}))

    try:
        assert prepare_database(database, objects, tmp_path) == ["ours"]
        with open_session(database) as session:
            assert resolve(session, "ours").number == 1
    finally:
        with open_session(database) as session:
            session.execute(text("DELETE FROM decisions WHERE model_id = (SELECT id FROM models WHERE name = 'ours')"))
            session.execute(text("UPDATE models SET champion_id = NULL WHERE name = 'ours'"))
            session.execute(
                text("DELETE FROM model_versions WHERE model_id = (SELECT id FROM models WHERE name = 'ours')")
            )
            session.execute(text("DELETE FROM models WHERE name = 'ours'"))


def test_the_admin_key_may_do_everything(database: Database, tmp_path: Path) -> None:
    key = ensure_admin_key(database, tmp_path).read_text().strip()

    with open_session(database) as session:
        assert verify_key(session, key).scopes == {Scope.ADMIN}


def test_the_admin_key_is_for_its_owner_alone(database: Database, tmp_path: Path) -> None:
    assert stat.S_IMODE(ensure_admin_key(database, tmp_path).stat().st_mode) == 0o600


def test_the_admin_key_is_made_once(database: Database, tmp_path: Path) -> None:
    first = ensure_admin_key(database, tmp_path).read_text()
    with open_session(database) as session:
        before = session.execute(text("SELECT count(*) FROM api_keys")).scalar_one()

    assert ensure_admin_key(database, tmp_path).read_text() == first
    with open_session(database) as session:
        assert session.execute(text("SELECT count(*) FROM api_keys")).scalar_one() == before
