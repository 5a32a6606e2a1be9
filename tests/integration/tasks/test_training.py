"""`tasks.training`: a real training in a process of its own."""

from collections.abc import Iterator

import pytest
from celery import Celery
from sqlalchemy import Engine as Database

from schemas.messages import TrainModel
from schemas.names import TaskName
from store.database import open_session
from store.models import get_version, resolve
from store.objects import ObjectStore
from tasks.errors import TrainingFailedError
from tasks.training import register, train
from tests.factories import Rows


@pytest.fixture(autouse=True)
def _removed(committed: Rows) -> Iterator[None]:  # noqa: ARG001 - removes what the test commits
    """What a test registers is removed at its end."""
    return iter([None])


@pytest.fixture(autouse=True)
def _not_nice(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine a polite training would outlast the test's time."""
    monkeypatch.setattr("tasks.training.NICENESS", 0)


def test_a_training_registers_a_version_that_does_not_answer_yet(database: Database, objects: ObjectStore) -> None:
    number = train(TrainModel(model="xor", seed=7, epochs=1), database=database, objects=objects)

    with open_session(database) as session:
        version = get_version(session, "xor", number)
        assert (version.source, version.metrics["seed"], version.metrics["epochs"]) == ("trained", 7, 1)
        assert len(objects.get(version.weights_sha256)) == version.weights_bytes
        assert resolve(session, "xor").number != number


def test_a_training_that_fails_says_why_in_one_line(database: Database, objects: ObjectStore) -> None:
    app = Celery("tests")
    register(app, database, objects)

    with pytest.raises(TrainingFailedError, match=r"^training nope failed: Error: Invalid value .*'nope'.*$"):
        app.tasks[TaskName.TRAIN_MODEL](model="nope", seed=0, epochs=None)
