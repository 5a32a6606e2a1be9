"""What the automatic triggers of models remember: one row a model, moved on by compare-and-set."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from store.tables.model import Model
from store.tables.training import TrainingSchedule


def scheduled_models(session: Session) -> Sequence[str]:
    """List the models that are trained by themselves, by name."""
    wanted = Model.settings["retraining"].astext.is_not(None)
    return session.scalars(select(Model.name).where(wanted).order_by(Model.name)).all()


def find_schedule(session: Session, model_id: int) -> TrainingSchedule | None:
    """Return what the triggers of a model remember."""
    return session.get(TrainingSchedule, model_id, populate_existing=True)


def begin_schedule(session: Session, model_id: int, cron: str | None) -> None:
    """Let a cron line count from now on. The line that counts already goes on counting."""
    fresh = insert(TrainingSchedule).values(model_id=model_id, cron=cron, ticked_at=func.now())
    changed = TrainingSchedule.cron.is_distinct_from(cron)
    session.execute(
        fresh.on_conflict_do_update(
            index_elements=["model_id"], set_={"cron": cron, "ticked_at": func.now()}, where=changed
        )
    )


def lock_schedule(session: Session, model_id: int) -> TrainingSchedule | None:
    """Return a model's row for this transaction alone; None while another process looks after the model."""
    statement = select(TrainingSchedule).where(TrainingSchedule.model_id == model_id)
    return session.scalar(statement.with_for_update(skip_locked=True).execution_options(populate_existing=True))


def pass_ticks(session: Session, schedule: TrainingSchedule, now: datetime) -> bool:
    """Be done with all ticks up to now, however many were missed.

    Returns:
        False when another process was done with them first.
    """
    statement = update(TrainingSchedule).where(
        TrainingSchedule.model_id == schedule.model_id, TrainingSchedule.ticked_at == schedule.ticked_at
    )
    moved = statement.values(ticked_at=now, fired_at=now).returning(TrainingSchedule.model_id)
    return session.scalar(moved) is not None


def note(session: Session, schedule: TrainingSchedule, reason: str | None) -> None:
    """Keep why a due trigger became no training; None when it became one."""
    if schedule.note != reason:
        schedule.note, schedule.noted_at = reason, func.now()
        session.flush()
