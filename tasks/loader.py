"""Brings model versions from the registry and the object store onto the device."""

import time
from collections import deque
from collections.abc import Callable

import structlog
from sqlalchemy import Engine as Database

from ml.engine import Engine
from ml.errors import MLError, ModelLoadError, TuningInterruptedError, VariantError
from ml.spec import ModelSpec
from ml.tuning import BUDGET_S
from store.database import open_session
from store.errors import ObjectMissingError
from store.models import ServedVersion, get_version_by_id, list_models, served
from store.objects import ObjectStore
from tasks.errors import ModelUnavailableError
from tasks.tuner import Known, Tuner

log = structlog.get_logger()

#: For measuring all champions together before the worker says ready; the rest is measured when it is idle.
START_BUDGET_S = 4.0

#: A measurement with less time than this is left for later.
LEAST_BUDGET_S = 1.0


class ModelLoader:
    """Loads a version into the engine the first time that a row asks for it.

    Args:
        engine: Holds the models; on its device, its threads set.
        database: Where versions and tunings are.
        objects: Where weights are.
    """

    def __init__(self, engine: Engine, database: Database, objects: ObjectStore) -> None:
        self._engine = engine
        self._database = database
        self._objects = objects
        self._tuner = Tuner(engine.device, database, objects)
        self._versions: dict[int, ServedVersion] = {}
        self._untuned: deque[int] = deque()
        self._used_at = time.monotonic()

    def ensure(self, model_version_id: int) -> ServedVersion:
        """Return the version, loaded and warm; one that nobody measured yet runs as it was written.

        Raises:
            ModelUnavailableError: Its weights are missing, damaged, or do not fit its configuration.
        """
        self._used_at = time.monotonic()
        version = self._versions.get(model_version_id)
        if version is None:
            version = self._load(model_version_id, tune_s=0.0)
        return version

    def preload_champions(self, tune_s: float = START_BUDGET_S) -> list[str]:
        """Load every version that answers by default, measured as far as the time goes.

        Args:
            tune_s: For measuring all of them; 0 leaves it for when the worker is idle.

        Returns:
            The reasons of those that would not load.
        """
        with open_session(self._database) as session:
            ids = [model.champion_id for model in list_models(session) if model.champion_id is not None]
        problems = []
        until = time.monotonic() + tune_s
        for model_version_id in ids:
            try:
                self._load(model_version_id, tune_s=until - time.monotonic())
            except ModelUnavailableError as error:
                problems.append(str(error))
        return problems

    def held(self) -> list[str]:
        """List what is on the device, as `name/version`."""
        return [f"{name}/{version}" for name, version in self._engine.held()]

    def idle_s(self) -> float:
        """Seconds since a version was asked for."""
        return time.monotonic() - self._used_at

    def tune_next(self, check: Callable[[], None]) -> bool:
        """Measure a version that was loaded unmeasured, and run it as chosen from its next batch on.

        Args:
            check: Called between forwards; raises `TuningInterruptedError` when there is work to do.

        Returns:
            False when every version is measured.
        """
        if not self._untuned:
            return False
        model_version_id = self._untuned.popleft()
        try:
            done = self._tune(self._versions[model_version_id], check)
        except TuningInterruptedError:
            done = False
        if not done:
            self._untuned.append(model_version_id)
        return True

    def _load(self, model_version_id: int, *, tune_s: float) -> ServedVersion:
        with open_session(self._database) as session:
            version = served(get_version_by_id(session, model_version_id))
        try:
            spec, weights = self._read(version)
            known = self._tuner.find(version, spec) or self._measure(version, spec, weights, tune_s)
            self._engine_load(spec, weights, known)
        except (MLError, ObjectMissingError) as error:
            raise ModelUnavailableError(
                f"{version.model} version {version.number} cannot be loaded on {self._engine.device}: {error}"
            ) from error
        self._versions[model_version_id] = version
        if known is None or not known.complete:
            self._untuned.append(model_version_id)
        return version

    def _read(self, version: ServedVersion) -> tuple[ModelSpec, bytes]:
        spec = ModelSpec.from_config(version.model, version.number, version.config)
        return spec, self._objects.get(version.weights_sha256)

    def _measure(self, version: ServedVersion, spec: ModelSpec, weights: bytes, tune_s: float) -> Known | None:
        """Measure before serving, or wait for the process beside us that does."""
        if tune_s < LEAST_BUDGET_S:
            return None
        try:
            known = self._tuner.measure(version, spec, weights, budget_s=tune_s)
        except MLError as error:
            # Where the model itself is at fault, loading it will say so.
            log.warning("tuning_failed", model=version.model, version=version.number, error=str(error))
            return None
        return known or self._tuner.await_other(version, spec, tune_s)

    def _engine_load(self, spec: ModelSpec, weights: bytes, known: Known | None) -> None:
        try:
            self._engine.load(spec, weights, None if known is None else known.choice)
        except (VariantError, ModelLoadError) as error:
            if known is None:
                raise
            # The same kind of device refuses today what it ran before, for example for want of memory.
            log.warning("choice_not_loaded", model=spec.name, version=spec.version, error=str(error))
            self._engine.load(spec, weights)

    def _tune(self, version: ServedVersion, check: Callable[[], None]) -> bool:
        """Returns False while another process measures the same."""
        try:
            spec, weights = self._read(version)
            known = self._tuner.find(version, spec)
            if known is None or not known.complete:
                known = self._tuner.measure(version, spec, weights, budget_s=BUDGET_S, check=check)
            if known is not None and self._engine.holds(version.model, version.number):
                self._engine_load(spec, weights, known)
        except TuningInterruptedError:
            raise
        except (MLError, ObjectMissingError) as error:
            # It goes on as it was loaded.
            log.warning("tuning_failed", model=version.model, version=version.number, error=str(error))
            return True
        return known is not None
