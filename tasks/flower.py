"""Entry point of Flower: `python -m tasks.flower`. Shows the workers by device and their tasks."""

import os
from typing import Any

from flower import urls  # type: ignore[import-untyped]  # Flower carries no types.

from store.errors import SettingsError
from store.logs import configure_logging
from store.settings import Settings
from tasks.app import create_celery

# Flower hides the arguments by default; ours hold the ids of predictions.
#: What Flower can do besides showing: stop workers, send tasks. Ours is for looking at. Its metrics answer anybody who
#: reaches it, password or not; ours are at `/metrics` of the API.
CLOSED_PATHS = (
    "/api/worker/",
    "/api/task/apply/",
    "/api/task/async-apply/",
    "/api/task/send-task/",
    "/api/task/abort/",
    "/api/task/timeout/",
    "/api/task/rate-limit/",
    "/api/task/revoke/",
    "/metrics",
)

#: Set, it opens Flower's API to everybody whatever the password is.
OPENING_VARIABLE = "FLOWER_UNAUTHENTICATED_API"

TASK_COLUMNS = "name,kwargs,state,received,runtime,worker"

#: Each that is remembered takes some 6 kB; by default it is ten times as many, which a soak showed as a leak.
MAX_TASKS = 10_000


def main() -> None:
    """Serve Flower until told to stop.

    Raises:
        SettingsError: No password is set: Flower would be open to everybody.
    """
    settings = Settings.from_env()
    configure_logging(settings.log_level, "flower")
    if ":" not in settings.flower_auth:
        raise SettingsError("TORCHQUEUE_FLOWER_AUTH must hold user:password; Flower does not start without")
    os.environ.pop(OPENING_VARIABLE, None)
    close_paths()
    # Flower reads its options from the environment too; the password must not show in the process list.
    os.environ["FLOWER_BASIC_AUTH"] = settings.flower_auth
    create_celery(settings).start(
        [
            "flower",
            f"--address={settings.flower_host}",
            f"--port={settings.flower_port}",
            f"--tasks-columns={TASK_COLUMNS}",
            f"--max-tasks={MAX_TASKS}",
            "--loglevel=WARNING",
        ]
    )


def close_paths() -> None:
    """Take the paths away by which somebody with the password could do more than look."""
    urls.handlers[:] = [handler for handler in urls.handlers if not _path(handler).startswith(CLOSED_PATHS)]


def _path(handler: Any) -> str:
    pattern = handler[0] if isinstance(handler, tuple) else handler.regex.pattern
    return str(pattern)


if __name__ == "__main__":
    main()
