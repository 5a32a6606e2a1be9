"""Entry point of Flower: `python -m tasks.flower`. Shows the workers by device and their tasks."""

import os

from store.errors import SettingsError
from store.logs import configure_logging
from store.settings import Settings
from tasks.app import create_celery

# Flower hides the arguments by default; ours hold the ids of predictions.
TASK_COLUMNS = "name,kwargs,state,received,runtime,worker"


def main() -> None:
    """Serve Flower until told to stop.

    Raises:
        SettingsError: No password is set: Flower would be open to everybody.
    """
    settings = Settings.from_env()
    configure_logging(settings.log_level, "flower")
    if ":" not in settings.flower_auth:
        raise SettingsError("TORCHQUEUE_FLOWER_AUTH must hold user:password; Flower does not start without")
    # Flower reads its options from the environment too; the password must not show in the process list.
    os.environ["FLOWER_BASIC_AUTH"] = settings.flower_auth
    create_celery(settings).start(
        [
            "flower",
            f"--address={settings.flower_host}",
            f"--port={settings.flower_port}",
            f"--tasks-columns={TASK_COLUMNS}",
            "--loglevel=WARNING",
        ]
    )


if __name__ == "__main__":
    main()
