"""From rows of trainings to what `schemas.trainings` dumps."""

from dataclasses import asdict
from typing import Any

from sqlalchemy.orm import Session

from schemas.enums import TrainingErrorCode, TrainingStatus, TrainingTrigger
from schemas.model_settings import ModelSettings
from schemas.training_options import TrainingOptions
from store.schedules import find_schedule
from store.tables.model import Model
from store.tables.training import Training
from store.trainings import feedback_since, last_success, last_training
from tasks.cron import next_tick


def from_training(row: Training) -> dict[str, Any]:
    """Present a training as read from Postgres, with its model and versions loaded."""
    return {
        "id": row.id,
        "model": row.model.name,
        "status": TrainingStatus(row.status),
        "trigger": TrainingTrigger(row.trigger),
        "actor": row.actor,
        "options": asdict(TrainingOptions.load(row.options)),
        "parent": None if row.parent is None else row.parent.number,
        "version": None if row.version is None else row.version.number,
        "progress": row.progress,
        "checkpoint_epoch": row.checkpoint_epoch,
        "manifest_sha256": row.manifest_sha256,
        "data_sha256": row.data_sha256,
        "examples": row.example_count,
        "attempt": row.attempt,
        "device": row.device,
        "metrics": row.metrics,
        "error": {"code": TrainingErrorCode(row.error_code), "detail": row.error_detail} if row.error_code else None,
        "created_at": row.created_at,
        "started_at": row.started_at,
        "deadline_at": row.deadline_at,
        "finished_at": row.finished_at,
    }


def retraining_state(session: Session, model: Model) -> dict[str, Any]:
    """Tell what the next training of a model hangs on."""
    last = last_training(session, model.id)
    schedule = find_schedule(session, model.id)
    settings = ModelSettings.load(model.settings).retraining
    cron = None if settings is None else settings.cron
    options = TrainingOptions() if settings is None else settings.options
    return {
        "next_tick_at": None if cron is None or schedule is None else next_tick(cron, schedule.ticked_at),
        "feedback_since": feedback_since(session, model, options, last_success(session, model.id)),
        "last_training": None if last is None else from_training(last),
        "note": None if schedule is None else schedule.note,
    }
