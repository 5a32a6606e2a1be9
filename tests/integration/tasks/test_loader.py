"""`tasks.loader`: from the registry and the object store onto the device."""

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Engine as Database

from ml.engine import Engine
from store.database import open_session
from store.models import ServedVersion
from store.objects import ObjectStore
from tasks.errors import ModelUnavailableError
from tasks.loader import ModelLoader
from tests.factories import Rows, add_model


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
    engine.unload("xor", 1)

    loader.ensure(xor.model_version_id)

    assert loader.held() == []


def test_every_champion_is_loaded_ahead(loader: ModelLoader) -> None:
    assert loader.preload_champions() == []
    assert loader.held() == ["fashion/1", "fashion-similar/1", "xor/1"]


def test_a_champion_that_cannot_be_loaded_is_told_and_stops_no_other(loader: ModelLoader, database: Database) -> None:
    _register(database, "broken", "00" * 32)

    [problem] = loader.preload_champions()

    assert "broken version 1 cannot be loaded on cpu: the object store has nothing" in problem
    assert loader.held() == ["fashion/1", "fashion-similar/1", "xor/1"]


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


def _register(database: Database, name: str, weights_sha256: str, **changes: Any) -> ServedVersion:
    with open_session(database) as session:
        return add_model(session, name, weights_sha256=weights_sha256, **changes)
