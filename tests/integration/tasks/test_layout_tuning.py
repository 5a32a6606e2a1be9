"""`tasks.layout_tuning`: the layout of a machine is measured once, by an idle worker, with the slowest champion."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import Engine as Database
from sqlalchemy import text

from ml.choices import Choice
from ml.engine import Engine
from ml.errors import LayoutError, TuningInterruptedError
from ml.layouts import Layout
from store.database import open_session
from store.models import ServedVersion
from store.objects import ObjectStore
from store.tunings import store_tuning
from tasks.idle_tuning import IdleTuning
from tasks.layout_tuning import LayoutTuning
from tasks.loader import ModelLoader
from tests.factories import Rows, add_model
from tests.running import wait_until

RATES = {Layout(processes=1, threads=1): 10.0, Layout(processes=2, threads=1): 18.0}

#: Nobody else's measurements count here.
KIND = "a machine of these tests"

Tune = Callable[[ServedVersion, float], None]


@pytest.fixture
def engine() -> Iterator[Engine]:
    engine = Engine("cpu:0")
    yield engine
    engine.close()


@pytest.fixture(autouse=True)
def _unmeasured(database: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine that nobody measured, before and after."""
    for module in ("layout_tuning", "tuner"):
        monkeypatch.setattr(f"tasks.{module}.device_kind", lambda _device: KIND)
    _forget(database)
    yield
    _forget(database)


@pytest.fixture
def layout_tuning(
    engine: Engine,
    database: Database,
    objects: ObjectStore,
    committed: Rows,  # noqa: ARG001 - removes models
) -> LayoutTuning:
    return LayoutTuning(engine, database, objects)


@pytest.fixture
def raced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was measured, by the labels of its configuration; the processes themselves are tested with `ml`."""
    models: list[str] = []

    def race(_layouts: Any, config: Any, _weights: bytes, _choice: Choice, **_: Any) -> dict[Layout, float]:
        models.append(config["labels"][0])
        return RATES

    monkeypatch.setattr("tasks.layout_tuning.measure_layouts", race)
    return models


@pytest.fixture
def tune(layout_tuning: LayoutTuning, database: Database) -> Tune:
    """Stores that a version was tuned, with its items a second."""

    def tune(version: ServedVersion, items_per_s: float) -> None:
        figures = {"batches": [{"size": 1, "items_per_s": items_per_s / 2}, {"size": 8, "items_per_s": items_per_s}]}
        with open_session(database) as session:
            store_tuning(
                session,
                version.model_version_id,
                **layout_tuning._key,
                choice=Choice(batch=8).to_json(),
                figures=figures,
                complete=True,
            )

    return tune


def test_the_slowest_champion_is_measured_once(
    layout_tuning: LayoutTuning, database: Database, xor: ServedVersion, raced: list[str], tune: Tune
) -> None:
    with open_session(database) as session:
        slow = add_model(session, "slow", weights_sha256=xor.weights_sha256, labels=["slow", "other"])
    tune(xor, 5_000.0)
    tune(slow, 20.0)

    assert layout_tuning(_go_on)
    assert not layout_tuning(_go_on)

    assert raced == ["slow"]
    with database.connect() as connection:
        stored = connection.execute(text("SELECT processes, threads, figures FROM process_layouts")).one()
    assert (stored.processes, stored.threads, stored.figures["model"]) == (2, 1, "slow")
    assert [each["items_per_s"] for each in stored.figures["layouts"]] == [10.0, 18.0]


def test_what_is_bound_by_the_queue_is_not_measured(
    layout_tuning: LayoutTuning, xor: ServedVersion, raced: list[str], tune: Tune
) -> None:
    tune(xor, 5_000.0)

    assert not layout_tuning(_go_on)
    assert raced == []


def test_nothing_is_measured_before_versions_are_tuned(layout_tuning: LayoutTuning, raced: list[str]) -> None:
    assert not layout_tuning(_go_on)
    assert raced == []


@pytest.mark.parametrize("error", [LayoutError("a process ended"), TuningInterruptedError()])
def test_a_measurement_that_fails_stores_nothing_and_ends_nobody(
    layout_tuning: LayoutTuning,
    database: Database,
    xor: ServedVersion,
    tune: Tune,
    error: Exception,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr("tasks.layout_tuning.measure_layouts", fail)
    tune(xor, 20.0)

    assert layout_tuning(_go_on)

    with database.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM process_layouts")).scalar_one() == 0


def test_an_idle_worker_measures_it_once_all_versions_are_measured(
    engine: Engine,
    layout_tuning: LayoutTuning,
    database: Database,
    objects: ObjectStore,
    xor: ServedVersion,
    raced: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in {"LOOK_EVERY_S": 0.01, "IDLE_S": 0.02, "MOST_OTHERS_SHARE": 1.0}.items():
        monkeypatch.setattr(f"tasks.idle_tuning.{name}", value)
    monkeypatch.setattr("tasks.layout_tuning.LEAST_ITEM_S", 0.0)
    monkeypatch.setattr("tasks.layout_tuning.LOOK_EVERY_S", 0.01)
    with open_session(database) as session:
        version = add_model(session, "idle", weights_sha256=xor.weights_sha256, samples=[[0, 1]], labels=["idle", "x"])
    loader = ModelLoader(engine, database, objects)
    loader.ensure(version.model_version_id)
    idle = IdleTuning(loader, layout_tuning)
    idle.start()
    try:
        wait_until(lambda: raced == ["idle"])
    finally:
        idle.stop()


def _go_on() -> None:
    """There is no work."""


def _forget(database: Database) -> None:
    with database.begin() as connection:
        connection.execute(text("DELETE FROM process_layouts"))
        connection.execute(text("DELETE FROM tunings WHERE device_kind = :kind"), {"kind": KIND})
