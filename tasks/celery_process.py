"""What every worker process shares: start Celery in the foreground, hear its signals, leave in order."""

import socket
from collections.abc import Callable, Sequence
from typing import Any

from celery import Celery
from celery.signals import worker_ready, worker_shutting_down


def node_name(name: str) -> str:
    """Return the Celery node name that Flower shows, e.g. `cuda-0@host`."""
    return f"{name}@{socket.gethostname()}"


def run_worker(
    app: Celery,
    *,
    node: str,
    queues: Sequence[str],
    concurrency: int,
    on_ready: Callable[[], None],
    on_stopping: Callable[[], None],
) -> None:
    """Consume until SIGTERM or SIGINT, then finish the running tasks and return.

    Args:
        app: Application with its tasks registered.
        node: Celery node name.
        queues: What to consume.
        concurrency: Tasks at once, as threads: CUDA does not survive a fork.
        on_ready: Called when consuming has begun.
        on_stopping: Called when the shutdown was asked for, before running tasks are waited for.
    """

    # Strong references: Celery holds receivers weakly and would forget these at once.
    def ready(**_: Any) -> None:
        on_ready()

    def stopping(**_: Any) -> None:
        on_stopping()

    worker_ready.connect(ready, weak=False)
    worker_shutting_down.connect(stopping, weak=False)
    arguments = [
        "worker",
        f"--hostname={node}",
        f"--queues={','.join(queues)}",
        "--pool=threads",
        f"--concurrency={concurrency}",
        # Workers need no word from each other; with many of them these stall the start.
        "--without-mingle",
        "--without-gossip",
        "--task-events",
        "--loglevel=WARNING",
    ]
    app.worker_main(arguments)
