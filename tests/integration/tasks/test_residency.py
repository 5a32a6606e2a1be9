"""`tasks.drainer` and `tasks.loader` together: models that come and go while others compute."""

import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from sqlalchemy import Engine as Database
from sqlalchemy import text

from ml.ceilings import Ceiling
from ml.choices import Choice
from ml.engine import Engine
from ml.kinds import build_untrained
from ml.predictor import Predictor
from ml.spec import ModelSpec
from ml.weights import dump_weights
from store.database import open_session
from store.objects import ObjectStore
from tasks.drainer import Drainer
from tests.factories import VECTOR_CONFIG, Rows, add_model
from tests.integration.tasks.conftest import DEVICE, MakeDrainer
from tests.running import PATIENCE_S, wait_until

MEBIBYTE = 1024 * 1024


class SlowlyLoadingEngine(Engine):
    """The real engine; a model named `slow` is loaded when the test says so."""

    def __init__(self, memory_mb: int | None = None) -> None:
        super().__init__(DEVICE, memory_mb=memory_mb)
        self.may_load = threading.Event()

    def load(
        self,
        spec: ModelSpec,
        weights: bytes,
        choice: Choice | None = None,
        *,
        ceilings: Mapping[str, Ceiling] | None = None,
        evict: bool = True,
    ) -> None:
        if spec.name == "slow":
            assert self.may_load.wait(PATIENCE_S)
        super().load(spec, weights, choice, ceilings=ceilings, evict=evict)


@pytest.fixture
def slow_engine() -> Iterator[SlowlyLoadingEngine]:
    """A device with nothing on it."""
    engine = SlowlyLoadingEngine()
    yield engine
    engine.may_load.set()
    engine.close()


@pytest.fixture
def small_engine() -> Iterator[Engine]:
    """A device with room for one model of 4 MiB."""
    engine = Engine(DEVICE, memory_mb=6)
    yield engine
    engine.close()


def test_rows_of_a_model_that_is_being_loaded_stall_no_others(
    make_drainer: MakeDrainer,
    slow_engine: SlowlyLoadingEngine,
    committed: Rows,
    database: Database,
    objects: ObjectStore,
) -> None:
    drainer = make_drainer(engine=slow_engine)
    committed.add()
    drainer.drain()
    waiting, ready = _rows_of(committed, database, objects, "slow").add(), committed.add()
    with ThreadPoolExecutor(1) as pool:
        draining = pool.submit(drainer.drain)
        wait_until(lambda: committed.status(ready) == "succeeded")

        assert committed.status(waiting) == "queued"
        slow_engine.may_load.set()

        assert draining.result(PATIENCE_S) is False
    row = committed.get(waiting)
    assert (row.status, row.attempt) == ("succeeded", 1)


def test_a_worker_that_stops_waits_for_no_load(
    make_drainer: MakeDrainer,
    slow_engine: SlowlyLoadingEngine,
    committed: Rows,
    database: Database,
    objects: ObjectStore,
) -> None:
    waiting = _rows_of(committed, database, objects, "slow").add()
    drainer = make_drainer(engine=slow_engine)
    with ThreadPoolExecutor(1) as pool:
        draining = pool.submit(drainer.drain)
        wait_until(lambda: bool(drainer._loader.loading()))
        drainer.stop()

        assert draining.result(PATIENCE_S) is False
    row = committed.get(waiting)
    assert (row.status, row.attempt) == ("queued", 0)


@pytest.mark.parametrize("pace", [-1.0, 1e9], ids=["pipelined", "one after the other"])
def test_models_that_do_not_fit_together_take_turns(
    make_drainer: MakeDrainer,
    small_engine: Engine,
    committed: Rows,
    database: Database,
    objects: ObjectStore,
    monkeypatch: pytest.MonkeyPatch,
    pace: float,
) -> None:
    monkeypatch.setattr("tasks.drainer.PIPELINE_ABOVE_MS", pace)
    models = [_rows_of(committed, database, objects, name, hidden=[1024, 1024]) for name in ("a", "b", "c")]
    ids = [rows.add() for _ in range(4) for rows in models]
    drainer = make_drainer(engine=small_engine)

    while drainer.drain():
        pass

    assert [(committed.get(each).status, committed.get(each).attempt) for each in ids] == [("succeeded", 1)] * 12
    assert small_engine.held_bytes() < 6 * MEBIBYTE


def test_no_model_stays_pinned_when_nothing_is_left(
    drainer: Drainer, engine: Engine, committed: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.drainer.PIPELINE_ABOVE_MS", -1.0)
    committed.add_many(600)

    drainer.drain()

    assert [resident.pins for _, resident in engine._models.residents()] == [0] * len(engine.held())


def test_a_batch_that_ran_out_of_memory_is_remembered_beyond_this_process(
    drainer: Drainer, committed: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = Predictor.__subclasses__()[0].forward

    def short_of_memory(self: Predictor, batch: torch.Tensor) -> torch.Tensor:
        if len(batch) > 100:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(self, batch)

    committed.add()
    drainer.drain()
    monkeypatch.setattr("ml.classification.ClassificationPredictor.forward", short_of_memory)
    ids = committed.add_many(200)

    drainer.drain()

    assert set(committed.statuses(ids)) == {"succeeded"}
    [known] = committed.connection.execute(text("SELECT shape, items, failures FROM batch_ceilings")).all()
    assert known == ("2", 100, 1)
    committed.connection.execute(text("DELETE FROM batch_ceilings"))


def _rows_of(
    committed: Rows, database: Database, objects: ObjectStore, name: str, hidden: list[int] | None = None
) -> Rows:
    """Rows of a model of its own, with weights."""
    config = {**VECTOR_CONFIG, "arch_options": {"hidden": hidden or [8]}}
    weights = dump_weights(build_untrained(ModelSpec.from_config(name, 1, config), "cpu").module)
    with open_session(database) as session:
        return Rows(committed.connection, add_model(session, name, config=config, weights_sha256=objects.put(weights)))
