"""Brings model versions from the registry and the object store onto the device."""

import time

from sqlalchemy import Engine as Database

from ml.engine import Engine
from ml.errors import MLError
from ml.spec import ModelSpec
from store.database import open_session
from store.errors import ObjectMissingError
from store.models import ServedVersion, get_version_by_id, list_models, served
from store.objects import ObjectStore
from tasks.errors import ModelUnavailableError
from tasks.pace import RateBook


class ModelLoader:
    """Loads a version into the engine the first time that a row asks for it.

    Args:
        engine: Holds what was loaded.
        database: Where versions are registered.
        objects: Where their weights are.
        book: Told how long each took to load.
    """

    def __init__(self, engine: Engine, database: Database, objects: ObjectStore, book: RateBook | None = None) -> None:
        self._engine = engine
        self._database = database
        self._objects = objects
        self._book = book or RateBook()
        self._versions: dict[int, ServedVersion] = {}

    def ensure(self, model_version_id: int) -> ServedVersion:
        """Return the version, loaded and warm.

        Raises:
            ModelUnavailableError: Its weights are missing, damaged, or do not fit its configuration.
        """
        version = self._versions.get(model_version_id)
        if version is None:
            began_at = time.monotonic()
            with open_session(self._database) as session:
                version = served(get_version_by_id(session, model_version_id))
            self._load(version)
            self._versions[model_version_id] = version
            self._book.note_load(f"{version.model}/{version.number}", time.monotonic() - began_at)
        return version

    def preload_champions(self) -> list[str]:
        """Load every version that answers by default. Returns the reasons of those that would not load."""
        with open_session(self._database) as session:
            ids = [model.champion_id for model in list_models(session) if model.champion_id is not None]
        problems = []
        for model_version_id in ids:
            try:
                self.ensure(model_version_id)
            except ModelUnavailableError as error:
                problems.append(str(error))
        return problems

    def held(self) -> list[str]:
        """List what is on the device, as `name/version`."""
        return [f"{name}/{version}" for name, version in self._engine.held()]

    def _load(self, version: ServedVersion) -> None:
        try:
            spec = ModelSpec.from_config(version.model, version.number, version.config)
            self._engine.load(spec, self._objects.get(version.weights_sha256))
        except (MLError, ObjectMissingError) as error:
            raise ModelUnavailableError(
                f"{version.model} version {version.number} cannot be loaded on {self._engine.device}: {error}"
            ) from error
