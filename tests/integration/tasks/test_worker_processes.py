"""What each kind of worker is made of: its queues, its life, and leaving in order."""

from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import pytest
from celery import Celery
from sqlalchemy import Engine as Database
from sqlalchemy import select

from schemas.enums import WorkerRole
from schemas.names import QueueName, TaskName, inference_queue
from store.database import open_session
from store.settings import Settings
from store.tables.worker import Worker
from tasks import fetch_worker, inference_worker, maintenance_worker, training_worker
from tasks.celery_process import node_name
from tests.factories import BUNDLED_MODELS, Rows
from tests.running import wait_until

ROLES = {
    WorkerRole.INFERENCE: (inference_worker, [inference_queue(node_name("cpu-0")), QueueName.INFERENCE]),
    WorkerRole.TRAINING: (training_worker, [QueueName.TRAINING]),
    WorkerRole.MAINTENANCE: (maintenance_worker, [QueueName.MAINTENANCE]),
    WorkerRole.FETCH: (fetch_worker, [QueueName.FETCH]),
}


class ReadyWorker:
    """Stands for Celery's loop: becomes ready, does what the test says, and is told to stop."""

    def __init__(self, while_ready: Callable[[], None] = lambda: None) -> None:
        self.queues: Sequence[str] = ()
        self.tasks: set[str] = set()
        self._while_ready = while_ready

    def __call__(
        self,
        app: Celery,
        *,
        queues: Sequence[str],
        on_ready: Callable[[], None],
        on_stopping: Callable[[], None],
        **_: Any,
    ) -> None:
        self.queues = queues
        self.tasks = {name for name in app.tasks if not name.startswith("celery.")}
        on_ready()
        self._while_ready()
        on_stopping()


class BrokenWorker(ReadyWorker):
    """Stands for a loop that ends before it is ready, as when it is stopped while the broker is away."""

    def __call__(self, *_: Any, **__: Any) -> None:
        raise KeyboardInterrupt


Run = Callable[[ModuleType, ReadyWorker], None]


@pytest.fixture
def run(settings: Settings, committed: Rows, monkeypatch: pytest.MonkeyPatch) -> Run:  # noqa: ARG001 - removes what the test commits
    """Run a role's process with something in place of Celery's loop; its rows are removed at the end."""

    def run_role(module: ModuleType, worker: ReadyWorker) -> None:
        monkeypatch.setattr(module, "run_worker", worker)
        module.run(settings, "cpu:0")

    return run_role


@pytest.mark.parametrize("role", ROLES)
def test_a_role_consumes_its_queues(run: Run, role: WorkerRole) -> None:
    module, queues = ROLES[role]
    worker = ReadyWorker()

    run(module, worker)

    assert list(worker.queues) == queues


@pytest.mark.parametrize("role", ROLES)
def test_a_worker_is_registered_while_it_runs_and_drained_at_its_end(
    run: Run, database: Database, role: WorkerRole
) -> None:
    seen: list[Worker] = []
    worker = ReadyWorker(lambda: seen.extend(_workers(database)))

    run(ROLES[role][0], worker)

    assert [(each.role, each.device, each.stopped_at) for each in seen] == [(role, "cpu:0", None)]
    assert [each.stop_reason for each in _workers(database)] == ["drained"]


def test_every_queue_is_consumed_and_every_task_is_known_to_some_role(run: Run) -> None:
    workers = [(module, ReadyWorker()) for module, _ in ROLES.values()]
    for module, worker in workers:
        run(module, worker)

    assert {queue for _, worker in workers for queue in worker.queues} >= {str(queue) for queue in QueueName}
    assert {task for _, worker in workers for task in worker.tasks} == {str(name) for name in TaskName}


def test_an_inference_worker_holds_the_champions_when_it_is_ready(run: Run, database: Database) -> None:
    held: list[list[str]] = []

    run(inference_worker, ReadyWorker(lambda: held.extend(each.models for each in _workers(database))))

    assert held == [[f"{name}/1" for name in BUNDLED_MODELS]]


def test_an_inference_worker_finds_rows_that_nobody_rang_for(
    run: Run, committed: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.safety_poll.HEALTHY_S", 0.0)
    prediction_id = committed.add()

    run(
        inference_worker,
        ReadyWorker(lambda: wait_until(lambda: committed.status(prediction_id) == "succeeded")),
    )


@pytest.mark.parametrize("role", ROLES)
def test_a_worker_that_is_stopped_before_it_is_ready_leaves_in_order(run: Run, role: WorkerRole) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(ROLES[role][0], BrokenWorker())


def _workers(database: Database) -> list[Worker]:
    with open_session(database) as session:
        return list(session.scalars(select(Worker)))
