"""Entry point of a worker process: `python -m tasks.worker inference --device cuda:0`."""

import argparse
import os
from importlib import import_module

from ml.devices import pin_environment
from schemas.enums import WorkerRole
from store.logs import configure_logging
from store.settings import Settings

MODULES = {
    WorkerRole.INFERENCE: "tasks.inference_worker",
    WorkerRole.TRAINING: "tasks.training_worker",
    WorkerRole.MAINTENANCE: "tasks.maintenance_worker",
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
    import_module(MODULES[arguments.role]).run(settings, arguments.device)


if __name__ == "__main__":
    main()
