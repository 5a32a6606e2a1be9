"""The maintenance worker: runs what beat asks for. Loads no torch."""

from schemas.enums import WorkerRole
from schemas.names import QueueName
from store.database import create_database
from store.drift import newest_alarm
from store.objects import ObjectStore
from store.replies import connect_redis
from store.settings import Settings
from tasks import forgetting, retraining
from tasks.app import create_celery
from tasks.celery_process import node_name, run_worker
from tasks.doorbell import Doorbell
from tasks.life import WorkerLife
from tasks.maintenance import Maintenance, register
from tasks.retraining import Retraining

# The one-second jobs must not wait behind a partition that is being dropped.
CONCURRENCY = 2


def run(settings: Settings, device: str) -> None:
    """Run maintenance jobs until told to stop."""
    node = node_name(WorkerRole.MAINTENANCE)
    database = create_database(settings.database_url, application=node)
    maintenance = Maintenance(
        database, connect_redis(settings.redis_url), Doorbell(settings.redis_url), settings.retention
    )
    app = create_celery(settings)
    register(app, maintenance)
    forgetting.register(app, forgetting.Forgetting(database, ObjectStore(settings.object_url)))
    retraining.register(app, Retraining(database, Doorbell(settings.redis_url), newest_alarm))
    life = WorkerLife(
        database,
        name=node,
        role=WorkerRole.MAINTENANCE,
        device=device,
        queue=QueueName.MAINTENANCE,
        held=list,
    )
    try:
        run_worker(
            app,
            node=node,
            queues=[QueueName.MAINTENANCE],
            # Beat asks again within the second.
            acknowledges=False,
            concurrency=CONCURRENCY,
            pool="threads",
            on_ready=life.begin,
            on_stopping=lambda: None,
        )
    finally:
        life.end()
