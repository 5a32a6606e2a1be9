"""One device with real models on it, and workers that claim from real rows."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from sqlalchemy import Engine as Database

from ml.engine import Engine
from schemas.enums import WorkerRole
from store.objects import ObjectStore
from tasks.drainer import Drainer
from tasks.life import WorkerLife
from tasks.loader import ModelLoader
from tasks.spool import Spool
from tests.factories import Rows
from tests.running import PATIENCE_S

DEVICE = "cpu:0"
QUEUE = "inference-cpu-0"

MakeDrainer = Callable[..., Drainer]


@pytest.fixture(autouse=True)
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """What happens within a second says something of the machine, not of the code."""
    monkeypatch.setattr("tasks.drainer.DRAIN_BOUND_S", PATIENCE_S)
    monkeypatch.setattr("tasks.drainer.QUIT_WITHIN_S", PATIENCE_S)


@pytest.fixture(scope="package")
def engine() -> Iterator[Engine]:
    """The device, with the models that tests before loaded."""
    engine = Engine(DEVICE)
    yield engine
    engine.close()


@pytest.fixture
def life(database: Database, committed: Rows) -> Iterator[WorkerLife]:  # noqa: ARG001 - removes what the test commits
    """A registered worker whose lease holds; its row is removed with the rows of the test."""
    life = make_life(database)
    life.begin()
    yield life
    life.end()


@pytest.fixture
def make_drainer(
    engine: Engine, life: WorkerLife, database: Database, objects: ObjectStore, valkey: redis.Redis, tmp_path: Path
) -> Iterator[MakeDrainer]:
    """Make a drainer; arguments replace its collaborators."""
    made: list[Drainer] = []

    def make(**changes: Any) -> Drainer:
        device = changes.get("engine", engine)
        collaborators = {
            "engine": device,
            "loader": ModelLoader(device, database, objects),
            "life": life,
            "claims_database": database,
            "results_database": database,
            "objects": objects,
            "replies": valkey,
            "device": DEVICE,
            "queues": [QUEUE],
            "spool": Spool(tmp_path / "spool", "cpu-0"),
        }
        made.append(Drainer(**collaborators | changes))
        return made[-1]

    yield make
    for drainer in made:
        drainer.close()


@pytest.fixture
def drainer(make_drainer: MakeDrainer) -> Drainer:
    """A drainer of the shared device."""
    return make_drainer()


def make_life(database: Database, **changes: Any) -> WorkerLife:
    """Make a life that has not begun."""
    fields: dict[str, Any] = {"name": "cpu-0@here", "role": WorkerRole.INFERENCE, "device": DEVICE, "queue": QUEUE}
    return WorkerLife(database, held=lambda: ["xor/1"], **fields | changes)
