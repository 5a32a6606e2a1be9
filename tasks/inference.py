"""The task that a doorbell starts."""

from celery import Celery

from schemas.messages import RunPredictions
from schemas.names import TaskName
from store.failpoints import hit
from tasks.doorbell import Doorbell
from tasks.drainer import Drainer


def register(app: Celery, drainer: Drainer, doorbell: Doorbell, queue: str) -> None:
    """Register the inference task.

    Args:
        app: The worker's application.
        drainer: Runs what is queued.
        doorbell: Rings again when the bound was reached with rows left.
        queue: This worker's own.
    """

    # Its queue needs no acknowledgement, but Celery sends one all the same; this moves that off a request's way.
    @app.task(name=TaskName.RUN_PREDICTIONS, shared=False, acks_late=True)
    def run_predictions(*, prediction_ids: list[str], model: str, version: int, probe: bool = False) -> None:
        """Drain the queue. The arguments are for the reader: what waits is claimed from Postgres."""
        hit("worker.after_doorbell")
        if drainer.drain(probe=probe):
            doorbell.ring(queue, RunPredictions(model=model, version=version, prediction_ids=prediction_ids))
