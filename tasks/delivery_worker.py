"""The delivery worker: tells webhook endpoints what happened. No Celery, no torch, and no device of its own.

It sends what strangers' endpoints may take long to answer, so it shares its process with nothing else.
"""

import signal
import socket
from queue import SimpleQueue
from types import FrameType

import structlog

from schemas.enums import WorkerRole
from store.database import create_database
from store.outward import OutwardClient
from store.secret_box import SecretBox
from store.settings import Settings
from tasks.life import WorkerLife
from tasks.pump import Pump
from tasks.sender import Sender

log = structlog.get_logger()


def run(settings: Settings, device: str) -> None:
    """Send deliveries until told to stop."""
    node = f"{WorkerRole.DELIVERY}@{socket.gethostname()}"
    database = create_database(settings.database_url, application=node, pool_size=3)
    # It polls Postgres and consumes no queue.
    life = WorkerLife(database, name=node, role=WorkerRole.DELIVERY, device=device, queue="", held=list)
    if not settings.webhook_key:
        _wait_for_stop(life)
        return
    outward = OutwardClient(settings.outward)
    pump = Pump(database, Sender(outward, SecretBox(settings.webhook_key)).send, life)

    def stop(_number: int, _frame: FrameType | None) -> None:
        pump.stop()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    life.begin()
    try:
        pump.run()
    finally:
        life.end()
        outward.close()


def _wait_for_stop(life: WorkerLife) -> None:
    """Be there and do nothing: without the key nobody can make an endpoint, so there is nothing to send."""
    log.warning("webhooks_not_configured", missing="TORCHQUEUE_WEBHOOK_KEY")
    signals: SimpleQueue[int] = SimpleQueue()

    def stop(number: int, _frame: FrameType | None) -> None:
        signals.put(number)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    life.begin()
    signals.get()
    life.end()
