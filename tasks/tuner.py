"""How versions run fastest on this device: looked up in Postgres, or measured on real inputs and stored there."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import structlog
import torch
from sqlalchemy import Engine as Database

from ml.choices import Choice
from ml.devices import device_kind
from ml.kinds import build_predictor
from ml.machine import torch_version
from ml.predictor import Predictor
from ml.samples import WANTED, Samples, collect_samples
from ml.spec import ModelSpec
from ml.tuning import tune
from ml.verdicts import Tuning
from store.database import open_session
from store.errors import ObjectMissingError, ObjectsUnavailableError
from store.models import ServedVersion
from store.objects import ObjectStore
from store.tables.tuning import Tuning as TuningRow
from store.tunings import find_sibling_tuning, find_tuning, recent_inputs, store_tuning, try_lock_tuning, unlock_tuning

log = structlog.get_logger()

#: How often a process looks whether another has finished measuring.
LOOK_EVERY_S = 0.1


@dataclass(frozen=True, kw_only=True, slots=True)
class Known:
    """What is stored of a version on this kind of device."""

    choice: Choice
    complete: bool


class Tuner:
    """Finds, makes and stores the tunings of one device.

    Args:
        device: Measured on.
        database: Where tunings and recent predictions are.
        objects: Where the inputs of recent predictions are.
        decoding: Makes a block within which their pictures are decoded where the engine decodes.
    """

    def __init__(
        self,
        device: torch.device,
        database: Database,
        objects: ObjectStore,
        decoding: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self._decoding = decoding
        self._device = device
        self._database = database
        self._objects = objects
        # The threads of this process are set by now and stay as they are.
        self.key = {"device_kind": device_kind(device), "torch_version": torch_version()}

    def find(self, version: ServedVersion, spec: ModelSpec) -> Known | None:
        """Return what was measured earlier, unless other code wrote it or its rules have changed since."""
        with open_session(self._database) as session:
            row = find_tuning(session, version.model_version_id, **self.key)
        return None if row is None else _read(row, spec, complete=row.complete)

    def borrow(self, version: ServedVersion, spec: ModelSpec) -> Known | None:
        """Return what was measured of the same network with other weights, until this version is measured itself.

        Without it a version that is promoted under load would run as slowly as it was written, for as long as nothing
        is idle.
        """
        with open_session(self._database) as session:
            row = find_sibling_tuning(session, version.model_version_id, **self.key)
        return None if row is None else _read(row, spec, complete=False)

    def measure(
        self,
        version: ServedVersion,
        spec: ModelSpec,
        weights: bytes,
        *,
        budget_s: float,
        check: Callable[[], None] = lambda: None,
    ) -> Known | None:
        """Measure a version and store what was found.

        Args:
            version: Which.
            spec: Its configuration, as read.
            weights: Its weights.
            budget_s: Longest measurement.
            check: Called between forwards; may raise to break off.

        Returns:
            What to run; None when another process measures the same just now.

        Raises:
            MLError: The model cannot be built, or its configuration has a bad sample.
        """
        with self._lock(version.model_version_id) as locked:
            if not locked:
                return None
            predictor = build_predictor(spec, weights, self._device)
            found = tune(predictor, self._samples(version, predictor), budget_s=budget_s, check=check)
            self._store(version, found)
        return Known(choice=found.choice, complete=found.complete)

    def await_other(self, version: ServedVersion, spec: ModelSpec, patience_s: float) -> Known | None:
        """Wait for what another process measures; None when the patience is over first."""
        until = time.monotonic() + patience_s
        while (known := self.find(version, spec)) is None and time.monotonic() < until:
            time.sleep(LOOK_EVERY_S)
        return known

    @contextmanager
    def _lock(self, model_version_id: int) -> Iterator[bool]:
        with self._database.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
            locked = try_lock_tuning(connection, model_version_id)
            try:
                yield locked
            finally:
                if locked:
                    unlock_tuning(connection, model_version_id)

    def _samples(self, version: ServedVersion, predictor: Predictor) -> Samples:
        with open_session(self._database) as session:
            rows = recent_inputs(session, version.model_id, WANTED)
        inputs = [self._fetch(given, digest) for given, digest in rows]
        with self._decoding():
            return collect_samples(predictor, [given for given in inputs if given is not None])

    def _fetch(self, given: Any, digest: str | None) -> Any:
        if digest is None:
            return given
        try:
            return self._objects.get(digest)
        except (ObjectMissingError, ObjectsUnavailableError):
            # One sample less; the photographs that come along replace it.
            return None

    def _store(self, version: ServedVersion, found: Tuning) -> None:
        with open_session(self._database) as session:
            store_tuning(
                session,
                version.model_version_id,
                **self.key,
                choice=found.choice.to_json(),
                figures=found.to_json(),
                complete=found.complete,
            )
        log.info(
            "version_tuned",
            model=version.model,
            version=version.number,
            choice=found.choice.variant.name,
            batch=found.choice.batch,
            seconds=round(found.seconds, 2),
        )


def _read(row: TuningRow, spec: ModelSpec, *, complete: bool) -> Known | None:
    try:
        choice = Choice.from_json(row.choice)
    except (TypeError, KeyError):
        return None
    return Known(choice=choice, complete=complete) if spec.tuning.allow(choice) else None
