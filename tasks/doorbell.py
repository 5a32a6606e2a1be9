"""The one sender of Celery messages. Ring it after the commit: a worker that hears it looks for the rows at once."""

import time
from dataclasses import asdict
from typing import Any

import structlog
from celery import Celery
from kombu import Producer
from kombu.exceptions import KombuError, OperationalError
from redis import RedisError

import celeryconfig
from schemas.messages import FetchInputs, JudgeVersion, RunPredictions, TrainModel
from schemas.names import QueueName, TaskName

log = structlog.get_logger()

#: Failures in a row after which the broker is left alone for `BREAK_S`.
FAILURES_TO_BREAK = 3
BREAK_S = 1.0


class Doorbell:
    """Sends tasks to queues, best effort: a broker that is away costs a bounded time and is not asked again at once.

    Not thread safe: one thread a process sends, so that its failures are seen in order.

    Args:
        broker_url: URL of Valkey or Redis.
    """

    def __init__(self, broker_url: str) -> None:
        self._app = Celery("torchqueue-publisher", broker=broker_url)
        self._app.config_from_object("celeryconfig")
        self._app.conf.broker_transport_options = celeryconfig.PUBLISHER_TRANSPORT_OPTIONS
        # Held, because taking one from the pool for each message costs a third of the sending.
        self._producer: Producer | None = None
        self._failures = 0
        self._closed_until = 0.0

    def ring(self, queue: str, message: RunPredictions) -> bool:
        """Tell a device's worker that rows wait. Returns whether the broker took the message."""
        return self._send(TaskName.RUN_PREDICTIONS, queue, asdict(message))

    def request_fetch(self, message: FetchInputs) -> bool:
        """Tell the fetcher that pictures are to be fetched. Returns whether the broker took the message."""
        return self._send(TaskName.FETCH_INPUTS, QueueName.FETCH, asdict(message))

    def request_training(self, message: TrainModel) -> bool:
        """Ask the training worker for a training. Returns whether the broker took the message."""
        return self._send(TaskName.TRAIN_MODEL, QueueName.TRAINING, asdict(message))

    def request_judgement(self, message: JudgeVersion) -> bool:
        """Ask the training worker to judge a version. Returns whether the broker took the message."""
        return self._send(TaskName.JUDGE_VERSION, QueueName.TRAINING, asdict(message))

    def close(self) -> None:
        """Close the connection to the broker."""
        self._hang_up()
        self._app.close()

    def _send(self, task: TaskName, queue: str, kwargs: dict[str, Any]) -> bool:
        if time.monotonic() < self._closed_until:
            return False
        try:
            if self._producer is None:
                self._producer = self._app.amqp.Producer(self._app.connection_for_write())
            self._app.send_task(
                task, kwargs=kwargs, queue=queue, retry=False, ignore_result=True, producer=self._producer
            )
        except (KombuError, OperationalError, RedisError, OSError) as error:
            self._note_failure(error)
            self._hang_up()
            return False
        self._failures = 0
        return True

    def _hang_up(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None and producer.connection is not None:
            producer.connection.release()

    def _note_failure(self, error: Exception) -> None:
        self._failures += 1
        if self._failures >= FAILURES_TO_BREAK:
            self._closed_until = time.monotonic() + BREAK_S
        log.warning("doorbell_failed", failures=self._failures, error=str(error))
