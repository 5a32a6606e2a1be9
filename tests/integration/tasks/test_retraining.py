"""`tasks.retraining`: what trains by itself, on real rows, with any number of beats."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
import redis
from sqlalchemy import Engine as Database
from sqlalchemy import text

from schemas.enums import FeedbackChoice, TrainingTrigger
from schemas.model_settings import ModelSettings
from schemas.names import QueueName
from schemas.retraining_settings import RetrainingSettings
from schemas.training_options import TrainingOptions
from store import training_ledger as ledger
from store.database import open_session
from store.holdout import is_held_out
from store.models import configure, get_model
from store.schedules import find_schedule
from store.settings import Settings
from store.trainings import TrainingFilter, list_trainings, request_training
from tasks.doorbell import Doorbell
from tasks.retraining import Retraining
from tests.broker import PREFIX, waiting_messages
from tests.factories import Rows, autocommit

HOURLY = RetrainingSettings(cron="0 * * * *", debounce_s=0)

#: Whether a prediction is held out hangs on its id, which is drawn.
NOTHING_HELD_OUT = TrainingOptions(holdout=0.0)


@pytest.fixture
def retraining(database: Database, settings: Settings, committed: Rows, valkey: redis.Redis) -> Iterator[Retraining]:  # noqa: ARG001
    valkey.delete(f"{PREFIX}{QueueName.TRAINING}")
    yield Retraining(database, Doorbell(settings.redis_url))
    set_up(database, None)
    valkey.delete(f"{PREFIX}{QueueName.TRAINING}")


def test_a_tick_that_passed_becomes_a_training_and_rings(
    retraining: Retraining, database: Database, valkey: redis.Redis
) -> None:
    set_up(database, HOURLY, missed_hours=1)

    retraining.retrain_models()

    assert triggers(database) == ["schedule"]
    assert len(waiting_messages(valkey, QueueName.TRAINING)) == 1


def test_before_its_tick_nothing_is_trained(retraining: Retraining, database: Database) -> None:
    set_up(database, RetrainingSettings(cron=f"0 0 1 {1 + datetime.now(UTC).month % 12} *"))

    retraining.retrain_models()

    assert triggers(database) == []


def test_missed_ticks_are_caught_up_once(retraining: Retraining, database: Database) -> None:
    set_up(database, HOURLY, missed_hours=50)

    for _ in range(3):
        retraining.retrain_models()
        finish(database)

    assert triggers(database) == ["schedule"]


def test_ticks_of_the_time_in_which_it_was_switched_off_are_not_caught_up(
    retraining: Retraining, database: Database
) -> None:
    set_up(database, HOURLY)
    set_up(database, None, missed_hours=50)
    set_up(database, HOURLY)

    retraining.retrain_models()

    assert triggers(database) == []


def test_a_tick_fires_once_however_many_beats_run(retraining: Retraining, database: Database) -> None:
    set_up(database, HOURLY, missed_hours=1)

    with ThreadPoolExecutor(4) as beats:
        for each in [beats.submit(retraining.retrain_models) for _ in range(12)]:
            each.result()

    assert triggers(database) == ["schedule"]


def test_a_tick_waits_for_the_training_that_runs(retraining: Retraining, database: Database) -> None:
    ask(database)
    set_up(database, HOURLY, missed_hours=1)

    retraining.retrain_models()
    assert triggers(database) == ["api"]
    finish(database)
    retraining.retrain_models()

    assert triggers(database) == ["schedule", "api"]


def test_enough_feedback_asks_for_a_training(retraining: Retraining, database: Database, committed: Rows) -> None:
    set_up(database, RetrainingSettings(min_feedback=2, debounce_s=0, options=NOTHING_HELD_OUT))
    add_feedback(database, committed, 1)
    retraining.retrain_models()
    assert triggers(database) == []

    add_feedback(database, committed, 1)
    retraining.retrain_models()

    assert triggers(database) == ["feedback"]


def test_the_same_feedback_does_not_ask_twice(retraining: Retraining, database: Database, committed: Rows) -> None:
    set_up(database, RetrainingSettings(min_feedback=1, debounce_s=0, options=NOTHING_HELD_OUT))
    add_feedback(database, committed, 1)

    for _ in range(2):
        retraining.retrain_models()
        finish(database)

    assert triggers(database) == ["feedback"]


@pytest.mark.parametrize(
    "options",
    [
        replace(NOTHING_HELD_OUT, sources=("shop",)),
        replace(NOTHING_HELD_OUT, min_weight=2.0),
        replace(NOTHING_HELD_OUT, feedback=FeedbackChoice.NONE),
    ],
    ids=["another source", "too little weight", "none is learned from"],
)
def test_feedback_that_a_training_would_not_learn_from_does_not_count(
    retraining: Retraining, database: Database, committed: Rows, options: TrainingOptions
) -> None:
    set_up(database, RetrainingSettings(min_feedback=1, debounce_s=0, options=options))
    add_feedback(database, committed, 3)

    retraining.retrain_models()

    assert triggers(database) == []


def test_feedback_that_is_held_out_does_not_count(retraining: Retraining, database: Database, committed: Rows) -> None:
    added = add_feedback(database, committed, 40)
    learnable = sum(not is_held_out(each, 0.5) for each in added)
    options = TrainingOptions(holdout=0.5)

    set_up(database, RetrainingSettings(min_feedback=learnable + 1, debounce_s=0, options=options))
    retraining.retrain_models()
    assert triggers(database) == []
    set_up(database, RetrainingSettings(min_feedback=learnable, debounce_s=0, options=options))
    retraining.retrain_models()

    assert triggers(database) == ["feedback"]


def test_feedback_whose_input_is_gone_does_not_count(
    retraining: Retraining, database: Database, committed: Rows
) -> None:
    set_up(database, RetrainingSettings(min_feedback=2, debounce_s=0, options=NOTHING_HELD_OUT))
    gone, _ = add_feedback(database, committed, 2)
    committed.connection.execute(text("UPDATE predictions SET input = NULL WHERE id = :id"), {"id": gone})

    retraining.retrain_models()

    assert triggers(database) == []


@pytest.mark.parametrize("status", ["failed", "canceled"])
def test_what_a_training_that_made_nothing_was_asked_for_stays_due(
    retraining: Retraining, database: Database, committed: Rows, status: str
) -> None:
    set_up(database, RetrainingSettings(min_feedback=1, debounce_s=600, options=NOTHING_HELD_OUT))
    add_feedback(database, committed, 1)
    retraining.retrain_models()
    finish(database, status)

    retraining.retrain_models()
    assert triggers(database) == ["feedback"]
    pass_time(database, seconds=601)
    retraining.retrain_models()

    assert triggers(database) == ["feedback", "feedback"]


@pytest.mark.usefixtures("retraining")
def test_a_drift_alarm_asks_again_after_a_training_that_failed(database: Database, settings: Settings) -> None:
    raised_at = datetime.now(UTC) - timedelta(seconds=1)
    alarmed = Retraining(database, Doorbell(settings.redis_url), lambda _session, _model: raised_at)
    set_up(database, RetrainingSettings(on_drift=True, debounce_s=0))
    alarmed.retrain_models()
    finish(database, "failed")

    for _ in range(2):
        alarmed.retrain_models()
        finish(database)

    assert triggers(database) == ["drift", "drift"]


def test_triggers_are_debounced(retraining: Retraining, database: Database, committed: Rows) -> None:
    set_up(database, RetrainingSettings(min_feedback=1, debounce_s=600, options=NOTHING_HELD_OUT))
    ask(database)
    finish(database)
    add_feedback(database, committed, 5)

    retraining.retrain_models()

    assert triggers(database) == ["api"]


def test_a_drift_alarm_asks_for_a_training_once(database: Database, settings: Settings, retraining: Retraining) -> None:
    set_up(database, RetrainingSettings(on_drift=True, debounce_s=0))
    raised_at = datetime.now(UTC) - timedelta(seconds=1)
    alarmed = Retraining(database, Doorbell(settings.redis_url), lambda _session, _model: raised_at)
    retraining.retrain_models()
    assert triggers(database) == []

    for _ in range(2):
        alarmed.retrain_models()
        finish(database)

    assert triggers(database) == ["drift"]


def test_a_trigger_that_cannot_train_leaves_a_note(retraining: Retraining, database: Database) -> None:
    options = TrainingOptions(use_base=False)
    set_up(database, RetrainingSettings(cron="0 * * * *", debounce_s=0, options=options), missed_hours=1)

    retraining.retrain_models()

    assert triggers(database) == []
    with open_session(database) as session:
        schedule = find_schedule(session, get_model(session, "xor").id)
        assert schedule is not None
        assert schedule.note is not None
        assert "0 row(s) of feedback" in schedule.note


def test_a_training_left_behind_is_queued_again_and_rung_for(
    retraining: Retraining, database: Database, committed: Rows, valkey: redis.Redis
) -> None:
    ask(database)
    lost, idle = committed.worker(pid=1), committed.worker(pid=2)
    committed.connection.execute(text("UPDATE workers SET role = 'training'"))
    assert ledger.claim_training(committed.connection, worker_id=lost, device="cpu:0") is not None
    committed.shift_lease(lost, -1)

    retraining.tend_trainings()

    assert idle
    assert len(waiting_messages(valkey, QueueName.TRAINING)) == 1


def set_up(database: Database, settings: RetrainingSettings | None, *, missed_hours: int = 0) -> None:
    with open_session(database) as session:
        configure(session, name="xor", settings=ModelSettings(retraining=settings))
    with autocommit(database) as connection:
        connection.execute(
            text("UPDATE training_schedules SET ticked_at = ticked_at - :missed * interval '1 hour'"),
            {"missed": missed_hours},
        )


def ask(database: Database) -> None:
    with open_session(database) as session:
        request_training(session, name="xor", options=TrainingOptions(), trigger=TrainingTrigger.API, actor="tests")


def finish(database: Database, status: str = "succeeded") -> None:
    """End the training that is under way, by the edges that the database allows."""
    with autocommit(database) as connection:
        for each in ("processing", status):
            connection.execute(
                text("UPDATE trainings SET status = :status WHERE status IN ('queued', 'processing')"), {"status": each}
            )


def pass_time(database: Database, *, seconds: float) -> None:
    """Let all trainings have been asked for so much earlier."""
    with autocommit(database) as connection:
        connection.execute(
            text("UPDATE trainings SET created_at = created_at - :seconds * interval '1 second'"), {"seconds": seconds}
        )


def triggers(database: Database) -> list[str]:
    """What asked for the trainings of the model, newest first."""
    with open_session(database) as session:
        return [row.trigger for row in list_trainings(session, TrainingFilter(model="xor"), before=None, limit=10)]


def add_feedback(database: Database, committed: Rows, count: int) -> list[UUID]:
    ids = committed.add_many(count)
    with database.begin() as connection:
        connection.execute(
            text("""
                INSERT INTO feedback (prediction_id, api_key_id, model_id, model_version_id, label, source, weight,
                    recorded_by, predicted_at)
                SELECT id, api_key_id, model_id, model_version_id, to_jsonb(CAST('1' AS text)), 'desk', 1,
                    api_key_id, created_at FROM predictions WHERE id = ANY(CAST(:ids AS uuid[]))
            """),
            {"ids": [str(each) for each in ids]},
        )
    return ids
