"""Entry point of a worker process: `python -m tasks.worker inference --device cuda:0`."""

import argparse
import os
from importlib import import_module

from ml.devices import device_slug, pin_environment
from schemas.enums import WorkerRole
from store.database import create_database
from store.logs import configure_logging
from store.replies import connect_redis
from store.settings import Settings
from store.tables import registry  # noqa: F401 - mappers name each other: a query through one needs all of them
from tasks.celery_process import node_name
from tasks.quarantine import stand_aside
from tasks.successor import spool_folder, succeed

MODULES = {
    WorkerRole.INFERENCE: "tasks.inference_worker",
    WorkerRole.TRAINING: "tasks.training_worker",
    WorkerRole.MAINTENANCE: "tasks.maintenance_worker",
    WorkerRole.DELIVERY: "tasks.delivery_worker",
    WorkerRole.FETCH: "tasks.fetch_worker",
}


def main() -> None:
    """Pin the device, then import what the role needs and run it."""
    parser = argparse.ArgumentParser(prog="python -m tasks.worker", description="Run one worker process.")
    parser.add_argument("role", type=WorkerRole, choices=list(WorkerRole))
    parser.add_argument("--device", default="cpu:0", help="cuda:N or cpu:N")
    arguments = parser.parse_args()
    # Before torch is imported: CUDA reads these once. A role without torch never pays for importing it.
    os.environ.update(pin_environment(arguments.device))
    settings = Settings.from_env()
    configure_logging(settings.log_level, f"{arguments.role}-{arguments.device}")
    if arguments.role is WorkerRole.INFERENCE and not _may_serve(settings, arguments.device):
        return
    import_module(MODULES[arguments.role]).run(settings, arguments.device)


def _may_serve(settings: Settings, device: str) -> bool:
    """Take over from the process before; False when the device was quarantined, and somebody has stopped us since."""
    database = create_database(settings.database_url, application=node_name(device_slug(device)), pool_size=2)
    try:
        succeed(database, connect_redis(settings.redis_url), spool_folder(settings.var_dir))
        return not stand_aside(database, device)
    finally:
        database.dispose()


if __name__ == "__main__":
    main()
