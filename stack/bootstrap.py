"""What a first start needs: the schema, the bundled models, an admin key."""

import json
from pathlib import Path

from sqlalchemy import Engine as Database
from sqlalchemy import select

from schemas.enums import Scope
from stack.state import ADMIN_KEY_FILE
from store.database import open_session
from store.decisions import SYSTEM_ACTOR
from store.keys import create_key
from store.migrate import migrate
from store.models import register_version
from store.objects import ObjectStore
from store.promotion import promote
from store.tables.model import Model

BUNDLED = Path(__file__).resolve().parent.parent / "ml" / "bundled"


def prepare_database(database: Database, objects: ObjectStore, models: Path = BUNDLED) -> list[str]:
    """Migrate, and import the models that are not there yet.

    Args:
        database: Migrated and filled.
        objects: Takes the weights.
        models: Folder of the models' folders; the bundled ones by default.

    Returns:
        The names of the models that were imported.
    """
    migrate(database)
    return [name for folder in sorted(models.iterdir()) if (name := _import_if_missing(database, objects, folder))]


def ensure_admin_key(database: Database, var_dir: Path) -> Path:
    """Make an admin key once and keep it in a file that only its owner can read. Returns the file."""
    path = var_dir / ADMIN_KEY_FILE
    if not path.exists():
        with open_session(database) as session:
            _, key = create_key(session, name="admin", scopes=[Scope.ADMIN])
        path.touch(mode=0o600)
        path.write_text(key + "\n")
    return path


def _import_if_missing(database: Database, objects: ObjectStore, folder: Path) -> str | None:
    config = json.loads((folder / "model.json").read_text())
    with open_session(database) as session:
        if session.scalar(select(Model.id).where(Model.name == config["name"])) is not None:
            return None
        weights = (folder / "weights.safetensors").read_bytes()
        version = register_version(
            session,
            name=config["name"],
            kind=config["kind"],
            config=config,
            weights_sha256=objects.put(weights),
            weights_bytes=len(weights),
            metrics=config.get("metrics", {}),
            source="bundled",
            description=config.get("description", ""),
        )
        promote(
            session, name=config["name"], number=version.number, actor=SYSTEM_ACTOR, reason="bundled with torchqueue"
        )
    return str(config["name"])
