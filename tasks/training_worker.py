"""The training worker: starts one training process at a time. Loads no torch itself."""

from schemas.enums import WorkerRole
from schemas.names import QueueName
from store.database import create_database
from store.objects import ObjectStore
from store.settings import Settings
from tasks import gating
from tasks.app import create_celery
from tasks.celery_process import node_name, run_worker
from tasks.life import WorkerLife
from tasks.training import register


def run(settings: Settings, device: str) -> None:
    """Train on request until told to stop."""
    node = node_name(WorkerRole.TRAINING)
    database = create_database(settings.database_url, application=node)
    app = create_celery(settings)
    objects = ObjectStore(settings.object_url)
    register(app, database, objects)
    gating.register(app, database, objects)
    life = WorkerLife(database, name=node, role=WorkerRole.TRAINING, device=device, queue=QueueName.TRAINING, held=list)
    try:
        run_worker(
            app,
            node=node,
            queues=[QueueName.TRAINING],
            acknowledges=True,
            # Two trainings at once would take each other's device.
            concurrency=1,
            pool="threads",
            on_ready=life.begin,
            on_stopping=lambda: None,
        )
    finally:
        life.end()
