"""Trainings that nobody asks for by hand: by the clock, by enough feedback, by a drift alarm; and those left behind.

Any number of beats and maintenance workers may run these jobs: a model's row is locked while it is looked after, and a
tick is passed by compare-and-set, so each fires once.
"""

from collections.abc import Callable
from datetime import datetime, timedelta

import structlog
from celery import Celery
from sqlalchemy import Engine as Database
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from schemas.enums import TrainingTrigger
from schemas.messages import TrainModel
from schemas.model_settings import ModelSettings
from schemas.names import TaskName
from schemas.retraining_settings import RetrainingSettings
from store import training_ledger
from store.database import open_session
from store.errors import StoreError
from store.models import get_model
from store.schedules import begin_schedule, lock_schedule, note, pass_ticks, scheduled_models
from store.tables.model import Model
from store.tables.training import Training, TrainingSchedule
from store.trainings import feedback_since, last_success, last_training, open_training, request_training
from tasks.cron import next_tick
from tasks.doorbell import Doorbell

log = structlog.get_logger()

ACTOR = "beat"

#: When the newest drift alarm of a model was raised; None when all is well.
NewestAlarm = Callable[[Session, int], datetime | None]


class Retraining:
    """The jobs that beat asks for.

    Args:
        database: Where models, feedback and trainings are.
        doorbell: Rung for trainings that wait.
        newest_alarm: Reads drift alarms; None where none are raised.
    """

    def __init__(self, database: Database, doorbell: Doorbell, newest_alarm: NewestAlarm | None = None) -> None:
        self._database = database
        self._doorbell = doorbell
        self._newest_alarm = newest_alarm

    def tend_trainings(self) -> None:
        """Take back the trainings of workers that are gone, and ring for what waits beside an idle one."""
        with self._database.begin() as connection:
            taken = training_ledger.reap(connection)
            waiting = training_ledger.stranded(connection)
        if taken.queued or taken.failed:
            log.warning("trainings_taken_back", queued=len(taken.queued), failed=len(taken.failed))
        if waiting is not None:
            self._ring(*map(str, waiting))

    def retrain_models(self) -> None:
        """Queue the trainings that are due."""
        with open_session(self._database) as session:
            names = scheduled_models(session)
        for name in names:
            with open_session(self._database) as session:
                training = self._look_after(session, get_model(session, name))
                queued = None if training is None else (str(training.id), training.trigger)
            if queued is not None:
                log.info("training_triggered", model=name, training_id=queued[0], trigger=queued[1])
                self._ring(queued[0], name)

    def _look_after(self, session: Session, model: Model) -> Training | None:
        settings = ModelSettings.load(model.settings).retraining
        if settings is None:
            return None
        begin_schedule(session, model.id, settings.cron)
        schedule = lock_schedule(session, model.id)
        if schedule is None or open_training(session, model.id) is not None:
            # What is due stays due until the training that runs is over.
            return None
        now = session.scalars(select(func.now())).one()
        last = last_training(session, model.id)
        if last is not None and last.created_at + timedelta(seconds=settings.debounce_s) > now:
            return None
        trigger = self._find_trigger(session, model, schedule, settings, now)
        return None if trigger is None else _fire(session, model, schedule, settings, trigger)

    def _find_trigger(
        self,
        session: Session,
        model: Model,
        schedule: TrainingSchedule,
        settings: RetrainingSettings,
        now: datetime,
    ) -> TrainingTrigger | None:
        if settings.cron is not None and next_tick(settings.cron, schedule.ticked_at) <= now:
            return TrainingTrigger.SCHEDULE if pass_ticks(session, schedule, now) else None
        # What a training that failed or was cancelled was asked for is still due, once the pause is over.
        since = last_success(session, model.id)
        if settings.on_drift and self._newest_alarm is not None:
            raised_at = self._newest_alarm(session, model.id)
            if raised_at is not None and (since is None or raised_at > since):
                return TrainingTrigger.DRIFT
        if settings.min_feedback is not None:
            found = feedback_since(session, model, settings.options, since)
            if found >= settings.min_feedback:
                return TrainingTrigger.FEEDBACK
        return None

    def _ring(self, training_id: str, model: str) -> None:
        self._doorbell.request_training(TrainModel(training_id=training_id, model=model))


def register(app: Celery, retraining: Retraining) -> None:
    """Register the jobs of beat's schedule under their names."""
    # So often that they would push the predictions off Flower's page.
    app.task(name=TaskName.TEND_TRAININGS, shared=False, send_events=False)(retraining.tend_trainings)
    app.task(name=TaskName.RETRAIN_MODELS, shared=False, send_events=False)(retraining.retrain_models)


def _fire(
    session: Session, model: Model, schedule: TrainingSchedule, settings: RetrainingSettings, trigger: TrainingTrigger
) -> Training | None:
    try:
        with session.begin_nested():
            training = request_training(
                session, name=model.name, options=settings.options, trigger=trigger, actor=ACTOR
            )
    except StoreError as error:
        # A tick that became nothing is passed nevertheless; the model's page says why.
        note(session, schedule, f"{trigger}: {error}")
        return None
    note(session, schedule, None)
    return training
