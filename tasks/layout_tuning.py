"""How many inference workers, of how many threads, answer most on this machine: measured, and stored."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import structlog
from sqlalchemy import Engine as Database

from ml.choices import Choice
from ml.devices import device_kind
from ml.engine import Engine
from ml.errors import LayoutError, TuningInterruptedError
from ml.layout_race import measure_layouts
from ml.layouts import pick_layout, possible_here
from ml.machine import host_kind, torch_version
from store.database import open_session
from store.errors import ObjectMissingError
from store.models import ServedVersion, get_version_by_id, list_models, served
from store.objects import ObjectStore
from store.tunings import find_layout, find_tuning, store_layout

log = structlog.get_logger()

#: A network that takes less time an item is bound by what is done around it, which more processes do not share.
LEAST_ITEM_S = 0.001

#: Time between two looks whether there is something to measure.
LOOK_EVERY_S = 60.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Slowest:
    """The champion that keeps a device busiest, and how it runs there.

    Attributes:
        version: Which.
        choice: As it was tuned.
        item_s: Seconds of one item in a full batch.
    """

    version: ServedVersion
    choice: Choice
    item_s: float


def measure_layout(
    database: Database,
    objects: ObjectStore,
    version: ServedVersion,
    choice: Choice,
    *,
    plugins: tuple[str, ...] = (),
    check: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Run a version in every layout that this machine has room for, store the best, and return the figures.

    Args:
        database: Where it is stored, for this kind of machine.
        objects: Where the weights are.
        version: Which.
        choice: How it runs.
        plugins: Modules with kinds and architectures of the user's own.
        check: Called often; may raise to break off.

    Raises:
        LayoutError: A process did not load the model.
        ObjectMissingError: Its weights are not there.
    """
    weights = objects.get(version.weights_sha256)
    rates = measure_layouts(possible_here(), version.config, weights, choice, plugins=plugins, check=check)
    best = pick_layout(rates)
    figures = {
        "model": version.model,
        "version": version.number,
        "way": choice.variant.name,
        "batch": choice.batch,
        "layouts": [
            {"processes": layout.processes, "threads": layout.threads, "items_per_s": round(rate, 1)}
            for layout, rate in rates.items()
        ],
    }
    with open_session(database) as session:
        store_layout(
            session,
            host_kind=host_kind(),
            torch_version=torch_version(),
            processes=best.processes,
            threads=best.threads,
            figures=figures,
        )
    return {"host_kind": host_kind(), "processes": best.processes, "threads": best.threads, **figures}


class LayoutTuning:
    """Measures the layout of this machine where nobody has, with the champion that takes longest.

    Args:
        engine: Its device is the one that the champions were tuned on.
        database: Where tunings and layouts are.
        objects: Where weights are.
        plugins: Modules with kinds and architectures of the user's own.
    """

    def __init__(self, engine: Engine, database: Database, objects: ObjectStore, plugins: tuple[str, ...] = ()) -> None:
        self._key = {"device_kind": device_kind(engine.device), "torch_version": torch_version()}
        self._database = database
        self._objects = objects
        self._plugins = plugins
        self._look_at = 0.0

    def __call__(self, check: Callable[[], None]) -> bool:
        """Measure now, unless there is nothing to measure.

        Args:
            check: Called often; raises `TuningInterruptedError` when there is work to do.

        Returns:
            False when there is nothing to measure, or it is known already.

        Raises:
            SQLAlchemyError: Postgres is away.
            ObjectsUnavailableError: The weights cannot be read.
        """
        if time.monotonic() < self._look_at:
            return False
        slowest = self._find_slowest()
        if slowest is None or slowest.item_s < LEAST_ITEM_S:
            self._look_at = time.monotonic() + LOOK_EVERY_S
            return False
        try:
            figures = self._measure(slowest, check)
        except TuningInterruptedError:
            return True
        except (LayoutError, ObjectMissingError) as error:
            log.warning("layout_not_measured", model=slowest.version.model, error=str(error))
            self._look_at = time.monotonic() + LOOK_EVERY_S
            return True
        log.info("layout_measured", **figures)
        return True

    def _measure(self, slowest: Slowest, check: Callable[[], None]) -> dict[str, Any]:
        return measure_layout(
            self._database, self._objects, slowest.version, slowest.choice, plugins=self._plugins, check=check
        )

    def _find_slowest(self) -> Slowest | None:
        """None where this machine was measured already, or no champion was tuned on it."""
        found = []
        with open_session(self._database) as session:
            if find_layout(session, host_kind=host_kind(), torch_version=torch_version()) is not None:
                return None
            for champion_id in filter(None, [model.champion_id for model in list_models(session)]):
                tuning = find_tuning(session, champion_id, **self._key)
                if tuning and tuning.figures["batches"]:
                    version = served(get_version_by_id(session, champion_id))
                    rate = max(each["items_per_s"] for each in tuning.figures["batches"])
                    found.append(Slowest(version=version, choice=Choice.from_json(tuning.choice), item_s=1 / rate))
        return max(found, key=lambda slowest: slowest.item_s, default=None)
