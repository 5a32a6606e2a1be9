"""Brings model versions from the registry and the object store onto the device, while others compute."""

import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import structlog
from sqlalchemy import Engine as Database
from sqlalchemy.exc import SQLAlchemyError

from ml.ceilings import Ceiling
from ml.engine import Engine, Key, Learned
from ml.errors import MLError, ModelLoadError, NoRoomError, TuningInterruptedError, VariantError
from ml.residency import memory_kind
from ml.spec import ModelSpec
from ml.tuning import BUDGET_S
from store.ceilings import known_ceilings, remember_ceiling
from store.database import open_session
from store.errors import ObjectMissingError
from store.models import ServedVersion, get_version_by_id, list_models, served
from store.objects import ObjectStore
from tasks.errors import ModelUnavailableError
from tasks.heap import trim_heap
from tasks.pace import RateBook
from tasks.tuner import Known, Tuner

log = structlog.get_logger()

#: For measuring all champions together before the worker says ready; the rest is measured when it is idle.
START_BUDGET_S = 4.0

#: A measurement with less time than this is left for later.
LEAST_BUDGET_S = 1.0

#: A version that could not be loaded is not tried again for so long; its rows fail at once meanwhile.
RETRY_AFTER_S = 5.0


@dataclass(frozen=True, slots=True)
class _Failure:
    error: Exception
    at: float


class ModelLoader:
    """Loads versions into the engine when rows ask for them.

    A load runs in a thread of its own, one after the other in the order in which they were asked for, so that every
    version has its turn. A version that nobody measured on this kind of device runs as it was written until the worker
    is idle. Thread safe.

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
        self._tuner = Tuner(engine.device, database, objects, engine.decoding)
        self._memory_kind = memory_kind(engine.device)
        self._book = book or RateBook()
        self._versions: dict[int, ServedVersion] = {}
        self._failures: dict[int, _Failure] = {}
        self._loading: set[int] = set()
        self._untuned: deque[int] = deque()
        self._used_at = time.monotonic()
        self._ended = threading.Condition()
        self._one_at_a_time = threading.Lock()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="load")
        #: Versions whose rows are for other workers. Replaced as a whole by the thread that follows promotions.
        self.left_to_others: Collection[int] = frozenset()
        #: Why versions that were to be loaded are not, by `name/version`; None while one is being loaded. Likewise.
        self.load_failures: Mapping[str, str | None] = {}

    def ensure(self, model_version_id: int, *, evict: bool = True, tune_s: float = 0.0) -> ServedVersion:
        """Return the version, loaded and warm; it may leave again as soon as others need its room.

        Args:
            model_version_id: Which.
            evict: False: no other version leaves for it.
            tune_s: For measuring it first where nobody did, in seconds.

        Raises:
            ModelUnavailableError: Its weights are missing, damaged, do not fit its configuration, or the device.
            NoRoomError: Others would have to leave, and `evict` is False.
        """
        with self._one_at_a_time:
            version = self._find(model_version_id)
            if not self._engine.holds(version.model, version.number):
                self._load(version, evict=evict, tune_s=tune_s)
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
        self._used_at = time.monotonic()
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

    def preload_champions(self, tune_s: float = START_BUDGET_S) -> list[str]:
        """Load the versions that answer by default, as many as fit, measured as far as the time goes.

        Args:
            tune_s: For measuring all of them; 0 leaves it for when the worker is idle.

        Returns:
            Why others would not load.
        """
        with open_session(self._database) as session:
            ids = [model.champion_id for model in list_models(session) if model.champion_id is not None]
        problems = []
        until = time.monotonic() + tune_s
        for model_version_id in ids:
            try:
                self.ensure(model_version_id, evict=False, tune_s=until - time.monotonic())
            except ModelUnavailableError as error:
                problems.append(str(error))
            except NoRoomError as error:
                log.info("champion_waits_for_its_first_row", reason=str(error))
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
            trim_heap()
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

    def _load(self, version: ServedVersion, *, evict: bool, tune_s: float) -> None:
        try:
            spec, weights = self._read(version)
            known = (
                self._tuner.find(version, spec)
                or self._measure(version, spec, weights, tune_s)
                or self._tuner.borrow(version, spec)
            )
            began_at = time.monotonic()
            self._engine_load(version, spec, weights, known, evict=evict)
        except NoRoomError:
            raise
        except (MLError, ObjectMissingError) as error:
            raise ModelUnavailableError(
                f"{version.model} version {version.number} cannot be loaded on {self._engine.device}: {error}"
            ) from error
        self._book.note_load(f"{version.model}/{version.number}", time.monotonic() - began_at, spec.max_batch)
        measured = known is not None and known.complete
        if not measured and version.model_version_id not in self._untuned:
            self._untuned.append(version.model_version_id)

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
        except SQLAlchemyError:
            raise
        except Exception:
            # A network may fail in any way on inputs that are not a client's; measuring must not keep it from serving.
            log.exception("tuning_fault", model=version.model, version=version.number)
            return None
        return known or self._tuner.await_other(version, spec, tune_s)

    def _engine_load(
        self, version: ServedVersion, spec: ModelSpec, weights: bytes, known: Known | None, *, evict: bool
    ) -> None:
        with open_session(self._database) as session:
            stored = known_ceilings(session, version.model_version_id, self._memory_kind)
        ceilings = {shape: Ceiling(each.items, each.failures) for shape, each in stored.items()}
        choice = None if known is None else known.choice
        try:
            self._engine.load(spec, weights, choice, ceilings=ceilings, evict=evict)
        except (VariantError, ModelLoadError) as error:
            if choice is None:
                raise
            # The same kind of device refuses today what it ran before, for example for want of memory.
            log.warning("choice_not_loaded", model=spec.name, version=spec.version, error=str(error))
            self._engine.load(spec, weights, ceilings=ceilings, evict=evict)

    def _tune(self, version: ServedVersion, check: Callable[[], None]) -> bool:
        """Returns False while another process measures the same."""
        try:
            spec, weights = self._read(version)
            known = self._tuner.find(version, spec)
            if known is None or not known.complete:
                known = self._tuner.measure(version, spec, weights, budget_s=BUDGET_S, check=check)
            with self._one_at_a_time:
                if known is not None and self._engine.holds(version.model, version.number):
                    # Beside the one that serves; where there is no room for both, the next load will use it.
                    self._engine_load(version, spec, weights, known, evict=False)
        except TuningInterruptedError:
            raise
        except (MLError, ObjectMissingError) as error:
            # It goes on as it was loaded.
            log.warning("tuning_failed", model=version.model, version=version.number, error=str(error))
            return True
        return known is not None
