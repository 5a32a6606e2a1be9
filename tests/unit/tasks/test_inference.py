"""The task that a doorbell starts, called as a plain function."""

from unittest.mock import Mock, create_autospec

import pytest
from celery import Celery

from schemas.messages import RunPredictions
from schemas.names import TaskName
from tasks.doorbell import Doorbell
from tasks.drainer import Drainer
from tasks.inference import register

QUEUE = "inference-cpu-0"


@pytest.fixture
def drainer() -> Mock:
    drainer: Mock = create_autospec(Drainer, instance=True, spec_set=True)
    return drainer


@pytest.fixture
def doorbell() -> Mock:
    doorbell: Mock = create_autospec(Doorbell, instance=True, spec_set=True)
    return doorbell


def test_a_doorbell_drains_the_queue_once(drainer: Mock, doorbell: Mock) -> None:
    drainer.drain.return_value = False

    _run(drainer, doorbell)

    drainer.drain.assert_called_once_with(probe=False)
    doorbell.ring.assert_not_called()


def test_a_drain_that_leaves_rows_rings_its_own_worker_again(drainer: Mock, doorbell: Mock) -> None:
    drainer.drain.return_value = True

    _run(drainer, doorbell)

    message = RunPredictions(model="xor", version=1, prediction_ids=["a"])
    doorbell.ring.assert_called_once_with(QUEUE, message)


def test_a_probe_is_drained_as_one(drainer: Mock, doorbell: Mock) -> None:
    drainer.drain.return_value = False

    _run(drainer, doorbell, probe=True)

    drainer.drain.assert_called_once_with(probe=True)


def _run(drainer: Mock, doorbell: Mock, **changes: bool) -> None:
    app = Celery("tests")
    register(app, drainer, doorbell, QUEUE)
    app.tasks[TaskName.RUN_PREDICTIONS](model="xor", version=1, prediction_ids=["a"], **changes)
