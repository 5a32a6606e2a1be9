"""What is left of a worker whose device fails again and again: a row that says so, and a process that takes nothing."""

import signal
import socket
from queue import SimpleQueue

import structlog
from sqlalchemy import Engine as Database

from ml.devices import device_slug
from schemas.enums import WorkerRole, WorkerState
from schemas.names import inference_queue
from store.quarantine import FAILURES, WINDOW_S, is_quarantined
from tasks.celery_process import node_name
from tasks.life import WorkerLife

log = structlog.get_logger()


def stand_aside(database: Database, device: str) -> bool:
    """Where a device is quarantined, hold its place until told to stop.

    It loads no torch and touches no device. Stopping it on purpose ends the quarantine: whoever does so has looked.

    Returns:
        Whether it was.
    """
    with database.connect() as connection:
        if not is_quarantined(connection, host=socket.gethostname(), device=device):
            return False
    log.critical("device_quarantined", device=device, failures=FAILURES, within_s=WINDOW_S)
    node = node_name(device_slug(device))
    life = WorkerLife(
        database,
        name=node,
        role=WorkerRole.INFERENCE,
        device=device,
        queue=inference_queue(node),
        held=list,
        state=WorkerState.QUARANTINED,
    )
    told: SimpleQueue[int] = SimpleQueue()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda received, _frame: told.put(received))
    life.begin()
    told.get()
    life.end()
    return True
