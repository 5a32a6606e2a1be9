"""Brings model versions from the registry and the object store onto the device, while others compute."""

import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import structlog
from sqlalchemy import Engine as Database
from sqlalchemy.exc import SQLAlchemyError

from ml.ceilings import Ceiling
from ml.engine import Engine, Key, Learned
from ml.errors import MLError, NoRoomError
from ml.residency import memory_kind
from ml.spec import ModelSpec
from store.ceilings import known_ceilings, remember_ceiling
from store.database import open_session
from store.errors import ObjectMissingError
from store.models import ServedVersion, get_version_by_id, list_models, served
from store.objects import ObjectStore
from tasks.errors import ModelUnavailableError

log = structlog.get_logger()

#: A version that could not be loaded is not tried again for so long; its rows fail at once meanwhile.
RETRY_AFTER_S = 5.0


@dataclass(frozen=True, slots=True)
class _Failure:
    error: Exception
    at: float


class ModelLoader:
    """Loads versions into the engine when rows ask for them.

    A load runs in a thread of its own, one after the other in the order in which they were asked for, so that every
    version has its turn. Thread safe.
    """

    def __init__(self, engine: Engine, database: Database, objects: ObjectStore) -> None:
        self._engine = engine
        self._database = database
        self._objects = objects
        self._memory_kind = memory_kind(engine.device)
        self._versions: dict[int, ServedVersion] = {}
        self._failures: dict[int, _Failure] = {}
        self._loading: set[int] = set()
        self._ended = threading.Condition()
        self._one_at_a_time = threading.Lock()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="load")

    def ensure(self, model_version_id: int, *, evict: bool = True) -> ServedVersion:
        """Return the version, loaded and warm; it may leave again as soon as others need its room.

        Raises:
            ModelUnavailableError: Its weights are missing, damaged, do not fit its configuration, or the device.
            NoRoomError: Others would have to leave, and `evict` is False.
        """
        with self._one_at_a_time:
            version = self._find(model_version_id)
            if not self._engine.holds(version.model, version.number):
                self._load(version, evict=evict)
            return version

    def pin(self, model_version_id: int) -> ServedVersion | None:
        """Return the version, which stays on the device until `unpin`.

        Returns:
            None when it is not there: it is on its way now, and in `loading` until then.

        Raises:
            ModelUnavailableError: It could not be loaded, a moment ago.
            SQLAlchemyError: Nor could it be looked up.
            ObjectsUnavailableError: Nor could its weights be read.
        """
        version = self._versions.get(model_version_id)
        if version is not None and self._engine.pin((version.model, version.number)):
            return version
        failure = self._failures.get(model_version_id)
        if failure is not None and time.monotonic() - failure.at < RETRY_AFTER_S:
            raise failure.error
        self._begin(model_version_id)
        return None

    def unpin(self, key: Key) -> None:
        """Undo one `pin`."""
        self._engine.unpin(key)

    def loading(self) -> Sequence[int]:
        """List the versions that are on their way to the device."""
        with self._ended:
            return list(self._loading)

    def wait(self, timeout_s: float) -> None:
        """Wait until a load has ended."""
        with self._ended:
            if self._loading:
                self._ended.wait(timeout_s)

    def preload_champions(self) -> list[str]:
        """Load the versions that answer by default, as many as fit. Returns why others would not load."""
        with open_session(self._database) as session:
            ids = [model.champion_id for model in list_models(session) if model.champion_id is not None]
        problems = []
        for model_version_id in ids:
            try:
                self.ensure(model_version_id, evict=False)
            except ModelUnavailableError as error:
                problems.append(str(error))
            except NoRoomError as error:
                log.info("champion_waits_for_its_first_row", reason=str(error))
        return problems

    def held(self) -> list[str]:
        """List what is on the device, as `name/version`."""
        return [f"{name}/{version}" for name, version in self._engine.held()]

    def remember(self, learned: Learned) -> None:
        """Write down what the engine found out about the memory of its device."""
        name, number = learned.key
        ids = {(version.model, version.number): version.model_version_id for version in list(self._versions.values())}
        log.info("batch_ceiling_changed", model=name, version=number, shape=learned.shape, items=learned.ceiling.items)
        try:
            with open_session(self._database) as session:
                remember_ceiling(
                    session,
                    model_version_id=ids[learned.key],
                    device_kind=self._memory_kind,
                    shape=learned.shape,
                    items=learned.ceiling.items,
                    failures=learned.ceiling.failures,
                )
        except SQLAlchemyError as error:
            # This process goes on with what it knows; the next one finds out for itself.
            log.warning("batch_ceiling_forgotten", error=str(error))

    def close(self) -> None:
        """Load nothing more. A load that waits for room ends when the engine is closed."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _begin(self, model_version_id: int) -> None:
        with self._ended:
            if model_version_id in self._loading:
                return
            self._loading.add(model_version_id)
        self._thread.submit(self._load_behind, model_version_id)

    def _load_behind(self, model_version_id: int) -> None:
        started = time.monotonic()
        try:
            self.ensure(model_version_id)
            self._failures.pop(model_version_id, None)
            log.info("model_loaded", model_version_id=model_version_id, load_s=round(time.monotonic() - started, 3))
        # Whatever it was: raised again where the rows are, which are put off or failed by what it is.
        except Exception as error:  # noqa: BLE001
            self._failures[model_version_id] = _Failure(error, time.monotonic())
        finally:
            with self._ended:
                self._loading.discard(model_version_id)
                self._ended.notify_all()

    def _find(self, model_version_id: int) -> ServedVersion:
        version = self._versions.get(model_version_id)
        if version is None:
            with open_session(self._database) as session:
                version = served(get_version_by_id(session, model_version_id))
            self._versions[model_version_id] = version
        return version

    def _load(self, version: ServedVersion, *, evict: bool) -> None:
        with open_session(self._database) as session:
            known = known_ceilings(session, version.model_version_id, self._memory_kind)
        ceilings = {shape: Ceiling(each.items, each.failures) for shape, each in known.items()}
        try:
            spec = ModelSpec.from_config(version.model, version.number, version.config)
            self._engine.load(spec, self._objects.get(version.weights_sha256), ceilings=ceilings, evict=evict)
        except NoRoomError:
            raise
        except (MLError, ObjectMissingError) as error:
            raise ModelUnavailableError(
                f"{version.model} version {version.number} cannot be loaded on {self._engine.device}: {error}"
            ) from error
