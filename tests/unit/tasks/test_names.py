"""The registry of names against what processes really register, schedule and consume."""

import inspect
from dataclasses import fields
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest.mock import create_autospec

import pytest
import redis
from celery import Celery
from sqlalchemy import Engine

import celeryconfig
from schemas.messages import FetchInputs, JudgeVersion, RunPredictions, TrainModel
from schemas.names import QueueName, TaskName
from store.objects import ObjectStore
from store.settings import Settings
from tasks import fetching, forgetting, gating, inference, maintenance, retraining, training
from tasks.app import create_celery
from tasks.doorbell import Doorbell
from tasks.drainer import Drainer
from tasks.fetching import Fetcher
from tasks.maintenance import Maintenance
from tasks.retraining import Retraining
from tasks.training import TrainingRunner


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings of servers that nobody connects to."""
    return Settings(
        database_url="postgresql+psycopg2://nowhere/none",
        redis_url="redis://nowhere",
        object_url=f"file://{tmp_path}",
        var_dir=tmp_path,
    )


@pytest.fixture
def app(settings: Settings) -> Celery:
    """An application with the tasks of every role."""
    app = create_celery(settings)
    doorbell = create_autospec(Doorbell, instance=True, spec_set=True)
    database = create_autospec(Engine, instance=True, spec_set=True)
    jobs = Maintenance(database, create_autospec(redis.Redis, instance=True, spec_set=True), doorbell, timedelta(90))
    inference.register(app, create_autospec(Drainer, instance=True, spec_set=True), doorbell, "inference-cpu-0")
    maintenance.register(app, jobs)
    fetching.register(app, create_autospec(Fetcher, instance=True, spec_set=True))
    objects = create_autospec(ObjectStore, instance=True, spec_set=True)
    forgetting.register(app, forgetting.Forgetting(database, objects))
    training.register(app, create_autospec(TrainingRunner, instance=True, spec_set=True))
    retraining.register(app, Retraining(database, doorbell))
    gating.register(app, database, objects)
    return app


def test_the_registered_tasks_are_those_that_have_a_name(app: Celery) -> None:
    ours = {name for name in app.tasks if not name.startswith("celery.")}

    assert ours == {str(name) for name in TaskName}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (TaskName.RUN_PREDICTIONS, RunPredictions),
        (TaskName.FETCH_INPUTS, FetchInputs),
        (TaskName.TRAIN_MODEL, TrainModel),
        (TaskName.JUDGE_VERSION, JudgeVersion),
    ],
)
def test_a_message_carries_what_its_task_takes(app: Celery, name: TaskName, message: type[Any]) -> None:
    taken = inspect.signature(app.tasks[name].run).parameters.values()

    assert {(p.name, p.annotation) for p in taken} == {(f.name, f.type) for f in fields(message)}


def test_beat_schedules_only_registered_tasks(app: Celery) -> None:
    assert {entry["task"] for entry in celeryconfig.beat_schedule.values()} <= set(app.tasks)


def test_beat_runs_every_job_that_takes_no_message() -> None:
    scheduled = {entry["task"] for entry in celeryconfig.beat_schedule.values()}

    assert scheduled == set(TaskName) - {
        TaskName.RUN_PREDICTIONS,
        TaskName.FETCH_INPUTS,
        TaskName.TRAIN_MODEL,
        TaskName.JUDGE_VERSION,
    }


def test_a_scheduled_task_can_be_called_without_arguments(app: Celery) -> None:
    for entry in celeryconfig.beat_schedule.values():
        inspect.signature(app.tasks[str(entry["task"])].run).bind()


def test_beats_jobs_go_to_the_maintenance_queue(app: Celery) -> None:
    assert app.conf.task_default_queue == QueueName.MAINTENANCE


def test_no_message_can_carry_code(app: Celery) -> None:
    assert (app.conf.accept_content, app.conf.task_serializer) == (["json"], "json")


def test_results_are_not_stored_a_second_time(app: Celery) -> None:
    assert app.conf.task_ignore_result
    assert app.conf.result_backend is None
