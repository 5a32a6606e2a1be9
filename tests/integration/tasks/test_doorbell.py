"""`tasks.doorbell`: messages to the broker, and no waiting for one that is away."""

from collections.abc import Iterator

import pytest
import redis
from structlog.testing import capture_logs

from schemas.messages import RunPredictions, TrainModel
from schemas.names import QueueName, TaskName
from stack.embedded import free_port
from tasks.doorbell import FAILURES_TO_BREAK, Doorbell
from tests.broker import PREFIX, waiting_messages
from tests.frozen import OwnValkey
from tests.running import wait_until

QUEUE = "inference-tests"
MESSAGE = RunPredictions(model="xor", version=1, prediction_ids=["a", "b"])


@pytest.fixture
def doorbell(redis_url: str, valkey: redis.Redis) -> Iterator[Doorbell]:
    doorbell = Doorbell(redis_url)
    yield doorbell
    doorbell.close()
    valkey.delete(f"{PREFIX}{QUEUE}", f"{PREFIX}{QueueName.TRAINING}")


@pytest.fixture
def unheard() -> Doorbell:
    """A doorbell whose broker is not there."""
    return Doorbell(f"redis://127.0.0.1:{free_port()}/0")


def test_a_ring_waits_in_the_workers_queue(doorbell: Doorbell, valkey: redis.Redis) -> None:
    assert doorbell.ring(QUEUE, MESSAGE)

    expected = {"model": "xor", "version": 1, "prediction_ids": ["a", "b"], "probe": False}
    assert waiting_messages(valkey, QUEUE) == [(TaskName.RUN_PREDICTIONS, expected)]


def test_a_training_waits_in_the_queue_of_trainings(doorbell: Doorbell, valkey: redis.Redis) -> None:
    assert doorbell.request_training(TrainModel(training_id="1", model="xor"))

    expected = {"training_id": "1", "model": "xor"}
    assert waiting_messages(valkey, QueueName.TRAINING) == [(TaskName.TRAIN_MODEL, expected)]


def test_a_ring_that_nobody_hears_says_so(unheard: Doorbell) -> None:
    assert unheard.ring(QUEUE, MESSAGE) is False


def test_a_training_that_nobody_hears_says_so(unheard: Doorbell) -> None:
    assert unheard.request_training(TrainModel(training_id="1", model="xor")) is False


def test_a_broker_that_is_away_is_left_alone_after_some_failures(unheard: Doorbell) -> None:
    with capture_logs() as logs:
        answers = [unheard.ring(QUEUE, MESSAGE) for _ in range(FAILURES_TO_BREAK + 5)]

    assert not any(answers)
    assert [entry["failures"] for entry in logs] == list(range(1, FAILURES_TO_BREAK + 1))


def test_a_broker_is_asked_again_after_a_while(unheard: Doorbell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.doorbell.BREAK_S", 0.0)

    with capture_logs() as logs:
        for _ in range(FAILURES_TO_BREAK + 2):
            unheard.ring(QUEUE, MESSAGE)

    assert len(logs) == FAILURES_TO_BREAK + 2


def test_a_frozen_broker_is_left_alone_and_heard_again(own_valkey: OwnValkey, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.doorbell.BREAK_S", 0.0)
    doorbell = Doorbell(own_valkey.url)
    assert doorbell.ring(QUEUE, MESSAGE)

    with own_valkey.frozen():
        assert not any(doorbell.ring(QUEUE, MESSAGE) for _ in range(FAILURES_TO_BREAK))

    wait_until(lambda: doorbell.ring(QUEUE, MESSAGE))
    doorbell.close()
