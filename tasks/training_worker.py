"""The training worker: starts one training process at a time. Loads no torch itself."""

import os
import shutil
import tempfile
from pathlib import Path
from uuid import UUID

import psutil
from sqlalchemy import Engine as Database

from schemas.enums import WorkerRole
from schemas.names import QueueName
from store.database import create_database
from store.objects import ObjectStore
from store.settings import Settings
from tasks import gating
from tasks.app import create_celery
from tasks.celery_process import node_name, run_worker
from tasks.gating import judge
from tasks.life import WorkerLife
from tasks.training import OnProgress, TrainingRunner, register
from tasks.training_folder import Place

# A container may write nowhere else; what must last is in the object store.
FOLDER = Path(tempfile.gettempdir()) / f"torchqueue-trainings-{os.getuid()}"


def create_runner(
    settings: Settings,
    life: WorkerLife,
    *,
    database: Database,
    device: str,
    on_progress: OnProgress = lambda _progress: None,
) -> TrainingRunner:
    """Make what runs trainings in this process, with a folder of its own that `remove_folders` removes."""
    objects = ObjectStore(settings.object_url)

    def ask_gate(model: str, number: int, training_id: UUID) -> None:
        judge(database=database, objects=objects, model=model, version=number, training_id=training_id)

    kind = "cuda" if device.startswith("cuda") else "cpu"
    return TrainingRunner(
        database=database,
        objects=objects,
        life=life,
        work_dir=FOLDER / str(os.getpid()),
        device=device,
        place=Place(device=kind, threads=settings.training_threads, plugins=settings.plugins),
        judge=ask_gate,
        on_progress=on_progress,
    )


def remove_folders() -> None:
    """Remove the folders of this process and of those that died."""
    for folder in FOLDER.glob("*"):
        if folder.name == str(os.getpid()) or not psutil.pid_exists(int(folder.name)):
            shutil.rmtree(folder, ignore_errors=True)


def run(settings: Settings, device: str) -> None:
    """Train on request until told to stop."""
    node = node_name(WorkerRole.TRAINING)
    database = create_database(settings.database_url, application=node)
    life = WorkerLife(database, name=node, role=WorkerRole.TRAINING, device=device, queue=QueueName.TRAINING, held=list)
    runner = create_runner(settings, life, database=database, device=device)
    remove_folders()
    app = create_celery(settings)
    register(app, runner)
    gating.register(app, database, ObjectStore(settings.object_url))
    try:
        run_worker(
            app,
            node=node,
            queues=[QueueName.TRAINING],
            # A doorbell: whoever is lost is rung again.
            acknowledges=False,
            # Two trainings at once would take each other's device.
            concurrency=1,
            pool="threads",
            on_ready=life.begin,
            on_stopping=runner.stop,
        )
    finally:
        life.end()
        remove_folders()
