"""`torchqueue models retrain`: when a model is trained again by itself."""

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine as Database

from schemas.model_settings import ModelSettings
from schemas.retraining_settings import RetrainingSettings
from schemas.training_options import TrainingOptions
from store.database import open_session
from store.models import configure, get_model
from tests.integration.stack.conftest import Torchqueue, assert_refused

MODEL = "xor"


@pytest.fixture(autouse=True)
def _as_before(database: Database) -> Iterator[None]:
    yield
    store(database, ModelSettings())


def store(database: Database, settings: ModelSettings) -> None:
    with open_session(database) as session:
        configure(session, name=MODEL, settings=settings)


def stored(database: Database) -> ModelSettings:
    with open_session(database) as session:
        return ModelSettings.load(get_model(session, MODEL).settings)


def retrain(torchqueue: Torchqueue, *options: str) -> str:
    done = torchqueue("models", "retrain", MODEL, *options)
    assert done.exit_code == 0, done.output
    return done.output


def test_every_reason_is_kept_and_shown(torchqueue: Torchqueue, database: Database) -> None:
    told = retrain(torchqueue, "--cron=0 3 * * mon", "--min-feedback=1000", "--on-drift", "--debounce-s=60")

    assert stored(database).retraining == RetrainingSettings(
        cron="0 3 * * mon", min_feedback=1000, on_drift=True, debounce_s=60.0
    )
    assert told == retrain(torchqueue)
    for part in ("at '0 3 * * mon', next on 20", "after 1,000 rows of feedback", "on a drift alarm", "every 60 s"):
        assert part in told


def test_a_reason_that_is_left_out_is_none_any_more(torchqueue: Torchqueue, database: Database) -> None:
    retrain(torchqueue, "--min-feedback=1000")
    retrain(torchqueue, "--on-drift")

    assert stored(database).retraining == RetrainingSettings(on_drift=True)


def test_how_it_is_trained_stays(torchqueue: Torchqueue, database: Database) -> None:
    options = TrainingOptions(epochs=7)
    store(database, ModelSettings(max_wait_ms=5, retraining=RetrainingSettings(options=options)))

    retrain(torchqueue, "--on-drift")

    assert stored(database) == ModelSettings(
        max_wait_ms=5, retraining=RetrainingSettings(on_drift=True, options=options)
    )


def test_never_ends_it(torchqueue: Torchqueue, database: Database) -> None:
    retrain(torchqueue, "--on-drift")

    assert retrain(torchqueue, "--never") == "xor is trained again only when somebody asks\n"
    assert stored(database).retraining is None


@pytest.mark.parametrize("cron", ["every day", "0 0 31 2 *", "61 * * * *"])
def test_a_line_that_never_fires_is_refused_and_changes_nothing(
    torchqueue: Torchqueue, database: Database, cron: str
) -> None:
    assert_refused(torchqueue("models", "retrain", MODEL, f"--cron={cron}"), ".*retraining.cron.*cannot be used.*")

    assert stored(database).retraining is None


def test_a_time_and_never_exclude_each_other(torchqueue: Torchqueue) -> None:
    refused = torchqueue("models", "retrain", MODEL, "--never", "--on-drift")

    assert (refused.exit_code, "exclude each other" in refused.output) == (2, True)


def test_an_unknown_model_is_told(torchqueue: Torchqueue) -> None:
    assert_refused(torchqueue("models", "retrain", "cats", "--on-drift"), ".*cats.*")
