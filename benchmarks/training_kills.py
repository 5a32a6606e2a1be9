"""One training whose process is killed again and again: what each kill loses, and whether the weights are the same.

`python -m benchmarks.training_kills`. A small network on posted data, so that an epoch takes a fraction of a second.
"""

import os
import random
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import UUID

import click
import psutil
from sqlalchemy import Engine as Database

from benchmarks.report import Figure, Unit, at_least, at_most, print_table
from benchmarks.servers import migrated_database, running_postgres
from schemas.enums import TrainingTrigger, WorkerRole
from schemas.names import QueueName
from schemas.training_options import TrainingOptions
from store.database import create_database, open_session
from store.models import resolve
from store.objects import ObjectStore
from store.tables.training import Training
from store.trainings import PostedData, get_training, request_training
from tasks.life import WorkerLife
from tasks.training import TrainingRunner
from tasks.training_folder import Place
from webapp.posted import pack_json

ROWS = 12_000
KILLS = 20

#: Completed between two kills, so that some die early in an epoch and some late.
EPOCHS_BETWEEN = (1, 2)


@dataclass
class Killer:
    """Kills the process of a training at random moments, and notes what each kill lost.

    Attributes:
        kills: Still to be made.
        lost: Share of an epoch that had to be computed again, for each kill.
    """

    kills: int
    lost: list[float] = field(default_factory=list)
    _last_step: int = 0
    _was_killed: bool = False
    _next_epoch: int = 2

    def hear(self, progress: Mapping[str, Any]) -> None:
        """Look at every progress that is told."""
        steps_an_epoch = progress["steps"] // progress["epochs"]
        if self._was_killed:
            begun_at = (progress["epoch"] - 1) * steps_an_epoch
            self.lost.append(max(0, self._last_step - begun_at) / steps_an_epoch)
            self._was_killed = False
            self._next_epoch = progress["epoch"] + random.choice(EPOCHS_BETWEEN)  # noqa: S311 - nothing secret
        self._last_step = progress["step"]
        if self.kills and progress["epoch"] >= self._next_epoch and random.random() < 0.5:  # noqa: S311
            self.kills -= 1
            self._was_killed = True
            _kill()


def measure(kills: int, folder: Path) -> list[Figure]:
    """Train undisturbed, then with kills."""
    with running_postgres(folder) as url, migrated_database(url, folder):
        database = create_database(url, application="benchmark", pool_size=4)
        objects = ObjectStore(f"file://{folder / 'objects'}")
        life = WorkerLife(
            database, name="benchmark", role=WorkerRole.TRAINING, device="cpu:0", queue=QueueName.TRAINING, held=list
        )
        life.begin()
        options = TrainingOptions(epochs=3 * kills + 5, batch_size=32)
        undisturbed, _ = _train(database, objects, life, folder, options, Killer(0))
        killer = Killer(kills)
        killed, took_s = _train(database, objects, life, folder, options, killer)
        life.end()
        database.dispose()
    assert killed.version is not None, killed.error_detail
    assert undisturbed.version is not None, undisturbed.error_detail
    within = sum(lost <= 1 for lost in killer.lost)
    same = killed.version.weights_sha256 == undisturbed.version.weights_sha256
    return [
        Figure(
            name="killed trainings that lost at most one epoch",
            value=within,
            unit=Unit.COUNT,
            wanted=at_least(kills),
            note=f"of {len(killer.lost)} kills; most lost {max(killer.lost):.2f} epochs, {took_s:.0f} s",
        ),
        Figure(
            name="weights that differ from those of the undisturbed training",
            value=int(not same),
            unit=Unit.COUNT,
            wanted=at_most(0),
            note=f"{killed.attempt} attempts",
        ),
    ]


def _train(
    database: Database, objects: ObjectStore, life: WorkerLife, folder: Path, options: TrainingOptions, killer: Killer
) -> tuple[Training, float]:
    training_id = _ask(database, objects, options)
    runner = TrainingRunner(
        database=database,
        objects=objects,
        life=life,
        work_dir=folder / "trainings",
        device="cpu:0",
        place=Place(device="cpu", threads=1),
        judge=lambda _model, _number, _training_id: None,
        on_progress=killer.hear,
    )
    began = time.monotonic()
    runner.drain()
    with open_session(database) as session:
        return get_training(session, training_id), time.monotonic() - began


def _ask(database: Database, objects: ObjectStore, options: TrainingOptions) -> UUID:
    draw = random.Random(0)  # noqa: S311 - the same data for both trainings
    inputs = [[draw.random(), draw.random()] for _ in range(ROWS)]
    targets = [int((x > 0.5) != (y > 0.5)) for x, y in inputs]
    with open_session(database) as session:
        packed, rows = pack_json(inputs, targets, resolve(session, "xor"))
    data = PostedData(sha256=objects.put(packed), rows=rows)
    with open_session(database) as session:
        training = request_training(
            session, name="xor", options=options, trigger=TrainingTrigger.API, actor="benchmark", data=data
        )
        return training.id


def _kill() -> None:
    for child in psutil.Process().children(recursive=True):
        if "ml.job" in child.cmdline():
            os.kill(child.pid, signal.SIGKILL)


@click.command()
@click.option("--kills", type=click.IntRange(1), default=KILLS, show_default=True)
def main(kills: int) -> None:
    """Measure and print."""
    with TemporaryDirectory(prefix="torchqueue-bench-") as folder:
        print_table(measure(kills, Path(folder)))


if __name__ == "__main__":
    main()
