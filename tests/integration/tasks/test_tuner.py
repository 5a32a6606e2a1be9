"""`tasks.tuner`, and the loader that follows it: measured once, stored, used by every later process."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from sqlalchemy import Engine as Database
from sqlalchemy import text

from ml.choices import Choice, Variant
from ml.engine import Engine
from ml.errors import TuningInterruptedError
from ml.spec import ModelSpec
from store import ledger
from store.database import open_session
from store.models import ServedVersion
from store.objects import ObjectStore
from store.tunings import find_tuning, store_tuning
from tasks.idle_tuning import IdleTuning
from tasks.loader import ModelLoader
from tasks.tuner import Known, Tuner
from tests.factories import Rows, add_model, autocommit, success
from tests.running import wait_until

RULES = {"pin": {"dtype": "bf16"}}

Measure = Callable[[ServedVersion], Known | None]


@pytest.fixture
def engine() -> Iterator[Engine]:
    """A device with nothing on it."""
    engine = Engine("cpu:0")
    yield engine
    engine.close()


@pytest.fixture
def tuner(engine: Engine, database: Database, objects: ObjectStore) -> Tuner:
    return Tuner(engine.device, database, objects)


@pytest.fixture
def loader(engine: Engine, database: Database, objects: ObjectStore) -> ModelLoader:
    return ModelLoader(engine, database, objects)


@pytest.fixture
def pinned(database: Database, committed: Rows, xor: ServedVersion) -> ServedVersion:  # noqa: ARG001 - removes it
    """The smallest network under another name, pinned to bfloat16, so that what is chosen does not depend on speed."""
    with open_session(database) as session:
        return add_model(session, "pinned", weights_sha256=xor.weights_sha256, tuning=RULES, samples=[[0, 1], [1, 1]])


@pytest.fixture
def measure(tuner: Tuner, objects: ObjectStore) -> Measure:
    def measure(version: ServedVersion) -> Known | None:
        return tuner.measure(version, _spec(version), objects.get(version.weights_sha256), budget_s=5.0)

    return measure


def _spec(version: ServedVersion) -> ModelSpec:
    return ModelSpec.from_config(version.model, version.number, version.config)


def _stored(tuner: Tuner, database: Database, version: ServedVersion) -> Any:
    with open_session(database) as session:
        return find_tuning(session, version.model_version_id, **tuner.key)


def test_another_version_of_a_network_runs_as_the_first_until_it_is_measured(
    loader: ModelLoader, engine: Engine, tuner: Tuner, measure: Measure, pinned: ServedVersion, database: Database
) -> None:
    measure(pinned)
    with open_session(database) as session:
        second = add_model(session, "pinned", config=pinned.config, weights_sha256=pinned.weights_sha256, number=2)

    loader.ensure(second.model_version_id)

    weights = engine._models["pinned", 2].predictor.module.parameters()
    assert {parameter.dtype for parameter in weights} == {torch.bfloat16}
    assert tuner.find(second, _spec(second)) is None


def test_what_was_measured_is_found_again(tuner: Tuner, measure: Measure, pinned: ServedVersion) -> None:
    assert tuner.find(pinned, _spec(pinned)) is None

    known = measure(pinned)

    assert known is not None
    assert known.choice.variant == Variant(dtype="bf16")
    assert tuner.find(pinned, _spec(pinned)) == known


def test_all_figures_are_stored(tuner: Tuner, measure: Measure, pinned: ServedVersion, database: Database) -> None:
    measure(pinned)

    figures = _stored(tuner, database, pinned).figures

    assert [each["name"] for each in figures["candidates"]] == ["fp32", "bf16"]
    assert figures["source"] == "samples of the model"


def test_answers_are_judged_by_what_was_asked_of_late(
    tuner: Tuner, measure: Measure, pinned: ServedVersion, database: Database
) -> None:
    with autocommit(database) as connection:
        rows = Rows(connection, pinned)
        ids = rows.add_many(20)
        ledger.complete(connection, [success(claim) for claim in rows.claim() if claim.id in ids])

    measure(pinned)

    assert _stored(tuner, database, pinned).figures["source"].startswith("recent predictions")


def test_a_choice_that_breaks_the_rules_of_today_is_not_used(
    tuner: Tuner, pinned: ServedVersion, database: Database
) -> None:
    for choice in (Choice(variant=Variant(fused=True)).to_json(), {"variant": {"magic": True}, "batch": None}):
        with open_session(database) as session:
            key = tuner.key
            store_tuning(session, pinned.model_version_id, **key, choice=choice, figures={}, complete=True)
        assert tuner.find(pinned, _spec(pinned)) is None


def test_two_processes_do_not_measure_the_same(measure: Measure, pinned: ServedVersion, database: Database) -> None:
    with autocommit(database) as other:
        lock = {"class": 7_208_004, "key": pinned.model_version_id}
        other.execute(text("SELECT pg_advisory_lock(:class, :key)"), lock)
        assert measure(pinned) is None
        other.execute(text("SELECT pg_advisory_unlock(:class, :key)"), lock)


def test_champions_run_as_measured_before_the_worker_is_ready(
    loader: ModelLoader, tuner: Tuner, engine: Engine, pinned: ServedVersion
) -> None:
    loader.preload_champions(tune_s=300.0)

    assert tuner.find(pinned, _spec(pinned)) is not None
    assert _dtype(engine) == "torch.bfloat16"


def test_a_later_start_measures_nothing(
    loader: ModelLoader, measure: Measure, engine: Engine, pinned: ServedVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    measure(pinned)
    monkeypatch.delattr(Tuner, "measure")

    loader.ensure(pinned.model_version_id)

    assert _dtype(engine) == "torch.bfloat16"


def test_a_version_that_is_loaded_under_way_runs_as_written_until_there_is_time(
    loader: ModelLoader, engine: Engine, pinned: ServedVersion
) -> None:
    loader.ensure(pinned.model_version_id)
    assert _dtype(engine) == "torch.float32"

    assert loader.tune_next(lambda: None)

    assert _dtype(engine) == "torch.bfloat16"
    assert not loader.tune_next(lambda: None)


def test_a_measurement_that_was_broken_off_is_made_later(loader: ModelLoader, pinned: ServedVersion) -> None:
    def interrupt() -> None:
        raise TuningInterruptedError

    loader.ensure(pinned.model_version_id)
    assert loader.tune_next(interrupt)
    assert loader.tune_next(lambda: None)
    assert not loader.tune_next(lambda: None)


def test_a_choice_that_cannot_be_loaded_any_more_is_left_out(
    loader: ModelLoader, measure: Measure, engine: Engine, pinned: ServedVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    measure(pinned)

    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("no such kernel")

    monkeypatch.setattr("ml.variants.Converted", refuse)
    loader.ensure(pinned.model_version_id)

    assert _dtype(engine) == "torch.float32"


def test_a_bad_sample_leaves_the_model_as_it_was_written(
    loader: ModelLoader,
    engine: Engine,
    database: Database,
    committed: Rows,  # noqa: ARG001 - removes what the test commits
    xor: ServedVersion,
) -> None:
    with open_session(database) as session:
        add_model(session, "pinned", weights_sha256=xor.weights_sha256, samples=[[0, 1, 2]])

    assert loader.preload_champions() == []
    assert _dtype(engine) == "torch.float32"


def test_an_idle_worker_measures_by_itself(
    loader: ModelLoader, engine: Engine, pinned: ServedVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.idle_tuning.LOOK_EVERY_S", 0.01)
    monkeypatch.setattr("tasks.idle_tuning.IDLE_S", 0.02)
    monkeypatch.setattr("tasks.idle_tuning.MOST_OTHERS_SHARE", 1.0)
    loader.ensure(pinned.model_version_id)
    idle = IdleTuning(loader)
    idle.start()
    try:
        wait_until(lambda: _dtype(engine) == "torch.bfloat16")
    finally:
        idle.stop()


def _dtype(engine: Engine) -> str:
    """The number format that the model `pinned` runs in."""
    module = engine._models["pinned", 1].predictor.module
    return str(next(module.parameters()).dtype)
