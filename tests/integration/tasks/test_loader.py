"""`tasks.loader`: from the registry and the object store onto the device."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from sqlalchemy import Engine as Database

from ml.ceilings import Ceiling
from ml.engine import Engine, Learned
from ml.kinds import build_untrained
from ml.spec import ModelSpec
from ml.weights import dump_weights
from store.database import open_session
from store.models import ServedVersion
from store.objects import ObjectStore
from tasks.errors import ModelUnavailableError
from tasks.loader import ModelLoader
from tests.factories import BUNDLED_MODELS, VECTOR_CONFIG, Rows, add_model
from tests.running import wait_until


@pytest.fixture
def engine() -> Iterator[Engine]:
    """A device with nothing on it."""
    engine = Engine("cpu:0")
    yield engine
    engine.close()


@pytest.fixture
def loader(engine: Engine, database: Database, objects: ObjectStore, committed: Rows) -> ModelLoader:  # noqa: ARG001 - removes what the test commits
    """Models that a test registers are removed at its end."""
    return ModelLoader(engine, database, objects)


def test_a_version_is_loaded_when_a_row_asks_for_it(loader: ModelLoader, xor: ServedVersion) -> None:
    assert loader.ensure(xor.model_version_id) == xor
    assert loader.held() == ["xor/1"]


def test_a_version_that_is_held_is_not_loaded_again(loader: ModelLoader, engine: Engine, xor: ServedVersion) -> None:
    loader.ensure(xor.model_version_id)
    held = engine._models["xor", 1]

    loader.ensure(xor.model_version_id)

    assert engine._models["xor", 1] is held


def test_a_version_that_left_is_loaded_again(loader: ModelLoader, engine: Engine, xor: ServedVersion) -> None:
    loader.ensure(xor.model_version_id)
    engine.unload("xor", 1)

    loader.ensure(xor.model_version_id)

    assert loader.held() == ["xor/1"]


def test_a_version_that_is_not_held_is_loaded_while_the_caller_goes_on(loader: ModelLoader, xor: ServedVersion) -> None:
    assert loader.pin(xor.model_version_id) is None
    assert loader.loading() == [xor.model_version_id]

    _wait_until_loaded(loader)

    assert loader.pin(xor.model_version_id) == xor


def test_a_load_that_failed_is_told_to_the_next_who_asks(loader: ModelLoader, database: Database) -> None:
    version = _register(database, "broken", "00" * 32)
    assert loader.pin(version.model_version_id) is None
    _wait_until_loaded(loader)

    with pytest.raises(ModelUnavailableError, match="broken version 1 cannot be loaded"):
        loader.pin(version.model_version_id)


def test_a_load_that_failed_is_tried_again_later(
    loader: ModelLoader, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = _register(database, "broken", "00" * 32)
    loader.pin(version.model_version_id)
    _wait_until_loaded(loader)
    monkeypatch.setattr("tasks.loader.RETRY_AFTER_S", 0.0)

    assert loader.pin(version.model_version_id) is None

    assert loader.loading() == [version.model_version_id]
    _wait_until_loaded(loader)


def test_a_model_larger_than_the_budget_is_unavailable(
    database: Database, objects: ObjectStore, fashion: ServedVersion
) -> None:
    engine = Engine("cpu:0", memory_mb=1)

    with pytest.raises(ModelUnavailableError, match=r"takes . MiB .* is 1 MiB. Raise TORCHQUEUE_DEVICE_MEMORY_MB"):
        ModelLoader(engine, database, objects).ensure(fashion.model_version_id)

    engine.close()


def test_what_was_learned_of_the_memory_is_where_the_next_process_starts(
    loader: ModelLoader, engine: Engine, database: Database, objects: ObjectStore
) -> None:
    version = _register(database, "hungry", objects.put(_weights()))
    loader.ensure(version.model_version_id)
    loader.remember(Learned(("hungry", 1), "2", Ceiling(2, 1)))
    engine.unload("hungry", 1)

    ModelLoader(engine, database, objects).ensure(version.model_version_id)

    assert engine._models["hungry", 1].ceilings.of(torch.zeros(2)) == 2


def test_every_champion_is_loaded_ahead(loader: ModelLoader) -> None:
    assert loader.preload_champions() == []
    assert loader.held() == [f"{name}/1" for name in BUNDLED_MODELS]


def test_a_champion_that_cannot_be_loaded_is_told_and_stops_no_other(loader: ModelLoader, database: Database) -> None:
    _register(database, "broken", "00" * 32)

    [problem] = loader.preload_champions()

    assert "broken version 1 cannot be loaded on cpu: the object store has nothing" in problem
    assert loader.held() == [f"{name}/1" for name in BUNDLED_MODELS]


def test_weights_that_are_no_weights_are_refused(loader: ModelLoader, database: Database, objects: ObjectStore) -> None:
    version = _register(database, "broken", objects.put(b"no tensors"))

    with pytest.raises(ModelUnavailableError, match="broken version 1 cannot be loaded"):
        loader.ensure(version.model_version_id)


@pytest.mark.parametrize(
    "changes", [{"arch": "nope"}, {"kind": "nope"}, {"labels": ["0", "1", "2"]}, {"arch_options": {"hidden": [9]}}]
)
def test_weights_that_do_not_fit_their_configuration_are_refused(
    loader: ModelLoader, database: Database, xor: ServedVersion, changes: dict[str, Any]
) -> None:
    version = _register(database, "broken", xor.weights_sha256, **changes)

    with pytest.raises(ModelUnavailableError, match="broken version 1 cannot be loaded"):
        loader.ensure(version.model_version_id)


def _weights() -> bytes:
    spec = ModelSpec.from_config("hungry", 1, VECTOR_CONFIG)
    return dump_weights(build_untrained(spec, "cpu").module)


def _wait_until_loaded(loader: ModelLoader) -> None:
    wait_until(lambda: not loader.loading())


def _register(database: Database, name: str, weights_sha256: str, **changes: Any) -> ServedVersion:
    with open_session(database) as session:
        return add_model(session, name, weights_sha256=weights_sha256, **changes)
