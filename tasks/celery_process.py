"""What every worker process shares: start Celery in the foreground, hear its signals, leave in order."""

import socket
from collections.abc import Callable, Sequence
from typing import Any, Literal

from celery import Celery
from celery.signals import worker_ready, worker_shutting_down
from celery.utils.dispatch import Signal
from celery.worker.consumer import Consumer
from kombu import Exchange, Queue

#: Events for Flower are sent together, this often.
EVENT_FLUSH_S = 0.2


#: What kombu raises over a message that is none. By then it has been taken from the queue.
GARBLED = (TypeError, ValueError, LookupError, AttributeError)


class PatientConsumer(Consumer):
    """A consumer that sends events a few times a second rather than after every task, and outlives garbage.

    Celery flushes them at once, in the thread that a drain competes with for the interpreter: measured at a third of
    a worker's time while it answers single requests.
    """

    hub: Any
    connection_errors: tuple[type[BaseException], ...]
    _flush_events: Callable[[], None]
    _flush_planned = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Whoever can write to Valkey could else end every worker, each with one message. Now it connects again.
        self.connection_errors = (*self.connection_errors, *GARBLED)

    def on_send_event_buffered(self) -> None:  # type: ignore[override]  # The stub is wrong.
        """Plan a flush, unless one is planned."""
        if self.hub is not None and not self._flush_planned:
            self._flush_planned = True
            self.hub.call_later(EVENT_FLUSH_S, self._flush_planned_events)

    def _flush_planned_events(self) -> None:
        self._flush_planned = False
        self._flush_events()


def node_name(name: str) -> str:
    """Return the Celery node name that Flower shows, e.g. `cuda-0@host`."""
    return f"{name}@{socket.gethostname()}"


def run_worker(
    app: Celery,
    *,
    node: str,
    queues: Sequence[str],
    acknowledges: bool,
    pool: Literal["solo", "threads"],
    concurrency: int,
    on_ready: Callable[[], None],
    on_stopping: Callable[[], None],
) -> None:
    """Consume until SIGTERM or SIGINT, then finish the running tasks and return.

    Args:
        app: Application with its tasks registered.
        node: Celery node name.
        queues: What to consume.
        acknowledges: False for doorbells: nothing hangs on one, and each would cost two more round trips to the broker.
        pool: `solo` runs tasks in the thread that consumes, `threads` beside it. Never a fork: CUDA would not survive.
        concurrency: Tasks at once.
        on_ready: Called when consuming has begun.
        on_stopping: Called when the shutdown was asked for, before running tasks are waited for.
    """
    app.conf.worker_consumer = PatientConsumer
    app.conf.task_queues = [
        Queue(name, Exchange(name, type="direct"), routing_key=name, no_ack=not acknowledges) for name in queues
    ]
    _call_on_signal(worker_ready, on_ready)
    _call_on_signal(worker_shutting_down, on_stopping)
    app.worker_main(_worker_arguments(node, pool, concurrency))


def _call_on_signal(signal: Signal, call: Callable[[], None]) -> None:
    def receive(**_: Any) -> None:
        call()

    # A strong reference: Celery holds receivers weakly and would forget this one at once.
    signal.connect(receive, weak=False)


def _worker_arguments(node: str, pool: str, concurrency: int) -> list[str]:
    return [
        "worker",
        f"--hostname={node}",
        f"--pool={pool}",
        f"--concurrency={concurrency}",
        # Workers need no word from each other; with many of them these stall the start.
        "--without-mingle",
        "--without-gossip",
        "--task-events",
        "--loglevel=WARNING",
    ]
