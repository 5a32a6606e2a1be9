"""Entry point of Flower: `python -m tasks.flower`. Shows the workers by device and their tasks."""

import os

from store.logs import configure_logging
from store.settings import Settings
from tasks.app import create_celery


def main() -> None:
    """Serve Flower until told to stop. Its password comes from the file that `TORCHQUEUE_FLOWER_AUTH` names."""
    settings = Settings.from_env()
    configure_logging(settings.log_level, "flower")
    # Flower reads its options from the environment too; the password must not show in the process list.
    os.environ["FLOWER_BASIC_AUTH"] = settings.flower_auth
    create_celery(settings).start(
        ["flower", f"--address={settings.flower_host}", f"--port={settings.flower_port}", "--loglevel=WARNING"]
    )


if __name__ == "__main__":
    main()
