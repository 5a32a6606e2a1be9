"""Train a model and register the result."""

import socket
import time
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from sqlalchemy import Engine as Database

from ml.devices import list_devices
from schemas.enums import FeedbackChoice, TrainingStart, TrainingTrigger, WorkerRole
from schemas.messages import TrainModel
from schemas.names import QueueName
from schemas.training_options import MAX_PROCESSES, TrainingOptions
from stack.commands.options import json_option, open_database, read_settings, var_option
from stack.console import console, one_line_errors, print_json, say
from stack.errors import RequestRefusedError
from store import training_ledger
from store.database import open_session
from store.decisions import COMMAND_ACTOR
from store.settings import Settings
from store.tables.training import Training
from store.training_ledger import TrainingClaim
from store.trainings import get_training, request_training
from tasks.doorbell import Doorbell
from tasks.life import WorkerLife
from tasks.training_worker import create_runner, remove_folders

LOOK_EVERY_S = 1.0

#: Heartbeats, the watched training, and what it registers.
CONNECTIONS = 3


@click.command()
@var_option
@json_option
@click.argument("model")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--epochs", type=click.IntRange(1), default=None, help="Default: the recipe's own.")
@click.option("--start", type=click.Choice([str(each) for each in TrainingStart]), help="Default: as the model says.")
@click.option("--feedback", type=click.Choice([str(each) for each in FeedbackChoice]), help="Default: all there is.")
@click.option("--feedback-weight", type=click.FloatRange(0, min_open=True), default=1.0, show_default=True)
@click.option("--source", "sources", multiple=True, help="Only feedback of this source; may be repeated.")
@click.option("--limit", type=click.IntRange(1), help="Most items of each part of the recipe's own data.")
@click.option("--no-base", is_flag=True, help="Leave the recipe's own data out.")
@click.option("--processes", type=click.IntRange(1, MAX_PROCESSES), default=1, show_default=True)
@click.option("--time-limit", type=click.FloatRange(1), help="Seconds.  [default: 3600]")
@click.option("--promote", is_flag=True, help="Let the result answer at once, without the gate.")
@click.option("--queue", is_flag=True, help="Leave it to the training worker and return at once.")
@click.option("--wait", is_flag=True, help="Leave it to the training worker and follow it.")
@one_line_errors
def train(var_dir: Path, as_json: bool, model: str, queue: bool, wait: bool, **chosen: Any) -> None:
    """Train MODEL with its recipe and its feedback; the result is a new version that must pass the gate.

    It runs here, or with --queue or --wait on the training worker of the stack.
    """
    settings = read_settings(var_dir)
    options = _read_options(chosen)
    if queue or wait:
        training_id = _queue(settings, open_database(var_dir), model, options)
        if not wait:
            say(f"asked the training worker; `GET /v1/trainings/{training_id}` tells how it goes")
            return
        training = _follow(open_database(var_dir), training_id)
    else:
        training = _run_here(settings, open_database(var_dir, CONNECTIONS), model, options)
    _tell(training, as_json=as_json)


def _read_options(chosen: dict[str, Any]) -> TrainingOptions:
    sources, no_base, time_limit = chosen.pop("sources"), chosen.pop("no_base"), chosen.pop("time_limit")
    options = TrainingOptions.load({**chosen, "use_base": not no_base, "sources": sources or None})
    return options if time_limit is None else replace(options, time_limit_s=time_limit)


def _queue(settings: Settings, database: Database, model: str, options: TrainingOptions) -> UUID:
    with open_session(database) as session:
        training = request_training(
            session, name=model, options=options, trigger=TrainingTrigger.COMMAND, actor=COMMAND_ACTOR
        )
    if not Doorbell(settings.redis_url).request_training(TrainModel(training_id=str(training.id), model=model)):
        raise RequestRefusedError(
            f"training {training.id} is queued, but the broker did not take its message; does the stack run?"
        )
    return training.id


def _run_here(settings: Settings, database: Database, model: str, options: TrainingOptions) -> Training:
    """Train in this process's place of the training worker: with a lease of its own, so that a kill is noticed."""
    device = list_devices()[0]
    name = f"train-command@{socket.gethostname()}"
    life = WorkerLife(database, name=name, role=WorkerRole.TRAINING, device=device, queue=QueueName.TRAINING, held=list)
    life.begin()
    try:
        # Before the bar, so that a refusal is one line.
        claim = _request_own(database, life, device, model, options)
        with _progress_bar() as bar:
            task = bar.add_task(model, total=None, state="")
            runner = create_runner(
                settings,
                life,
                database=database,
                device=device,
                on_progress=lambda progress: _show(bar, task, progress),
            )
            runner.run(claim)
    finally:
        life.end()
        remove_folders()
    with open_session(database) as session:
        return get_training(session, claim.id)


def _request_own(
    database: Database, life: WorkerLife, device: str, model: str, options: TrainingOptions
) -> TrainingClaim:
    """Ask for a training and take it in one transaction, so that no worker takes it first."""
    with open_session(database) as session:
        training = request_training(
            session, name=model, options=options, trigger=TrainingTrigger.COMMAND, actor=COMMAND_ACTOR
        )
        claim = training_ledger.claim_training(
            session.connection(), worker_id=life.worker_id, device=device, only=training.id
        )
    assert claim is not None, "nobody else sees it before the commit"
    return claim


def _follow(database: Database, training_id: UUID) -> Training:
    with _progress_bar() as bar:
        task = bar.add_task("queued", total=None, state="")
        while True:
            with open_session(database) as session:
                training = get_training(session, training_id)
            bar.update(task, description=f"{training.model.name} {training.status}")
            if training.progress is not None:
                _show(bar, task, training.progress)
            if training.finished_at is not None:
                return training
            time.sleep(LOOK_EVERY_S)


def _tell(training: Training, *, as_json: bool) -> None:
    name = training.model.name
    if training.version is None:
        reason = training.error_detail or f"it is {training.status}"
        raise click.ClickException(f"training {name} failed: {reason}")
    number = training.version.number
    if as_json:
        print_json({"training": training.id, "model": name, "version": number, "metrics": training.metrics})
        return
    console.print(f"{name} version {number} is registered; `torchqueue models promote {name} {number}` lets it answer")


def _progress_bar() -> Progress:
    # On the error stream, so that what is printed at the end can be read by a program.
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[state]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )


def _show(bar: Progress, task: Any, progress: Any) -> None:
    state = (
        f"epoch {progress['epoch']}/{progress['epochs']}  loss {progress['loss']:.4f}  metric {progress['metric']:.4f}"
    )
    bar.update(task, total=progress["steps"], completed=progress["step"], state=state)
