"""The fetcher: asks strangers' servers for pictures. Loads no torch, and holds no model and no key.

It is a process of its own, so that what a stranger's server can do to it, it does to nothing else, and so that a
firewall can tell the one process that may go out from all others.
"""

from schemas.enums import WorkerRole
from schemas.names import QueueName
from store.database import create_database
from store.objects import ObjectStore
from store.outward import OutwardClient
from store.replies import connect_redis
from store.settings import Settings
from tasks.app import create_celery
from tasks.celery_process import node_name, run_worker
from tasks.doorbell import Doorbell
from tasks.fetching import AT_ONCE, Fetcher, register
from tasks.life import WorkerLife

# One for the claims and one for heartbeats, beside those that record what was fetched.
CONNECTIONS = AT_ONCE // 2 + 2


def run(settings: Settings, device: str) -> None:
    """Fetch until told to stop."""
    node = node_name(WorkerRole.FETCH)
    database = create_database(settings.database_url, application=node, pool_size=CONNECTIONS)
    life = WorkerLife(database, name=node, role=WorkerRole.FETCH, device=device, queue=QueueName.FETCH, held=list)
    fetcher = Fetcher(
        client=OutwardClient(settings.outward),
        database=database,
        objects=ObjectStore(settings.object_url),
        life=life,
        replies=connect_redis(settings.redis_url),
        doorbell=Doorbell(settings.redis_url),
        max_bytes=settings.max_body_bytes,
        max_pixels=settings.max_pixels,
    )
    app = create_celery(settings)
    register(app, fetcher)
    # Before Celery: while the broker is away it finds its work by looking.
    life.begin()
    fetcher.start()
    try:
        run_worker(
            app,
            node=node,
            queues=[QueueName.FETCH],
            # A doorbell: what it points at is found without it.
            acknowledges=False,
            concurrency=1,
            pool="solo",
            on_ready=lambda: None,
            on_stopping=fetcher.stop,
        )
    finally:
        fetcher.close()
        life.end()
