"""`tasks.training`: real trainings in processes of their own."""

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import psutil
import pytest
from sqlalchemy import Engine as Database
from sqlalchemy import text

from ml.weights import sha256_hex
from schemas.enums import FeedbackChoice, TrainingStart, TrainingTrigger, WorkerRole
from schemas.training_options import TrainingOptions
from store import training_ledger as ledger
from store.database import open_session
from store.ledger import complete
from store.models import get_version, resolve
from store.objects import ObjectStore
from store.tables.training import Training
from store.training_ledger import TrainingClaim
from store.trainings import PostedData, get_training, list_examples, request_training
from tasks.life import WorkerLife
from tasks.training import TrainingRunner
from tasks.training_folder import Place
from tests.factories import Rows, success
from webapp.posted import pack_json

TINY = TrainingOptions(epochs=2, feedback=FeedbackChoice.NONE)

#: So many that it is killed before it ends.
ENDLESS = replace(TINY, epochs=2_000)

PATIENCE_S = 60.0

XOR_TABLE = [[0, 0], [0, 1], [1, 0], [1, 1]]
XOR_ANSWERS = [0, 1, 1, 0]

MakeRunner = Callable[..., TrainingRunner]


@pytest.fixture(autouse=True)
def _not_nice(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine a polite training would outlast the test's time."""
    monkeypatch.setattr("tasks.training_process.NICENESS", 0)


@pytest.fixture
def life(database: Database, committed: Rows) -> Iterator[WorkerLife]:  # noqa: ARG001 - removes what the test commits
    life = WorkerLife(
        database, name="training@here", role=WorkerRole.TRAINING, device="cpu:0", queue="training", held=list
    )
    life.begin()
    yield life
    life.end()


@pytest.fixture
def make_runner(database: Database, objects: ObjectStore, life: WorkerLife, tmp_path: Path) -> MakeRunner:
    def make(**changes: Any) -> TrainingRunner:
        collaborators = {
            "database": database,
            "objects": objects,
            "life": life,
            "work_dir": tmp_path / "trainings",
            "device": "cpu:0",
            "place": Place(device="cpu", threads=1),
            "judge": lambda _model, _number, _training_id: None,
        }
        return TrainingRunner(**collaborators | changes)

    return make


@pytest.fixture
def runner(make_runner: MakeRunner) -> TrainingRunner:
    return make_runner()


def test_a_training_registers_a_version_that_does_not_answer_yet(
    runner: TrainingRunner, database: Database, objects: ObjectStore
) -> None:
    training_id = ask(database, replace(TINY, seed=7))

    runner.drain()

    training = read(database, training_id)
    assert (training.status, training.attempt, training.error_detail) == ("succeeded", 1, None)
    with open_session(database) as session:
        assert training.version is not None
        version = get_version(session, "xor", training.version.number)
        assert (version.source, version.metrics["seed"], version.training_id) == ("trained", 7, training_id)
        assert version.parent_id == training.parent_version_id
        assert len(objects.get(version.weights_sha256)) == version.weights_bytes
        assert resolve(session, "xor").number != version.number


def test_a_new_version_is_judged(make_runner: MakeRunner, database: Database) -> None:
    judged: list[tuple[str, int, UUID]] = []
    training_id = ask(database, TINY)

    make_runner(judge=lambda *told: judged.append(told)).drain()

    [(model, number, by)] = judged
    version = read(database, training_id).version
    assert version is not None
    assert (model, number, by) == ("xor", version.number, training_id)


def test_progress_and_the_log_stay_readable(runner: TrainingRunner, database: Database) -> None:
    training_id = ask(database, TINY)

    runner.drain()

    training = read(database, training_id)
    assert training.progress is not None
    assert (training.progress["epoch"], training.progress["epochs"]) == (2, 2)
    assert training.progress["step"] == training.progress["steps"]
    assert "attempt 1 on cpu:0\nepoch 1/2 " in training.log


def test_the_same_manifest_and_seed_give_the_same_weights(runner: TrainingRunner, database: Database) -> None:
    weights, manifests = [], []
    for _ in range(2):
        training_id = ask(database, replace(TINY, seed=3))
        runner.drain()
        training = read(database, training_id)
        assert training.version is not None
        weights.append(training.version.weights_sha256)
        manifests.append(training.manifest_sha256)

    assert weights[0] == weights[1]
    assert manifests[0] == manifests[1]


def test_a_killed_training_goes_on_from_its_checkpoint_to_the_same_weights(
    runner: TrainingRunner, make_runner: MakeRunner, database: Database
) -> None:
    options = replace(TINY, epochs=12, seed=5)
    undisturbed = ask(database, options)
    runner.drain()
    expected = read(database, undisturbed)

    training_id = ask(database, options)
    killed = threading.Event()

    def kill(progress: Any) -> None:
        if progress["epoch"] >= 4 and not killed.is_set():
            killed.set()
            kill_process()

    make_runner(on_progress=kill).drain()

    training = read(database, training_id)
    assert (training.status, training.attempt) == ("succeeded", 2)
    assert training.version is not None
    assert expected.version is not None
    assert training.version.weights_sha256 == expected.version.weights_sha256


def test_a_training_that_dies_again_and_again_fails(make_runner: MakeRunner, database: Database) -> None:
    training_id = ask(database, ENDLESS)
    fresh: list[Any] = []

    def kill(progress: Any) -> None:
        fresh.append(progress)
        kill_process()

    make_runner(on_progress=kill).drain()

    training = read(database, training_id)
    assert (training.status, training.error_code) == ("failed", "worker_crash")


def test_a_cancelled_training_ends_within_seconds_and_leaves_no_process(
    runner: TrainingRunner, database: Database
) -> None:
    training_id = ask(database, ENDLESS)
    thread = threading.Thread(target=runner.drain)
    thread.start()
    wait_for_checkpoint(database, training_id)

    with database.begin() as connection:
        assert ledger.cancel(connection, training_id)
    thread.join(5)

    assert not thread.is_alive()
    assert jobs() == []
    assert read(database, training_id).status == "canceled"


def test_the_time_limit_holds(runner: TrainingRunner, database: Database) -> None:
    training_id = ask(database, replace(ENDLESS, time_limit_s=1.0))

    runner.drain()

    training = read(database, training_id)
    assert (training.status, training.error_code) == ("failed", "time_limit")
    assert jobs() == []


def test_a_worker_that_stops_gives_its_training_back(runner: TrainingRunner, database: Database) -> None:
    training_id = ask(database, ENDLESS)
    thread = threading.Thread(target=runner.drain)
    thread.start()
    wait_for_checkpoint(database, training_id)

    runner.stop()
    thread.join(5)

    training = read(database, training_id)
    assert (training.status, training.crash_count) == ("queued", 0)
    assert training.checkpoint_epoch is not None


def test_a_training_of_a_worker_that_is_gone_is_taken_back(database: Database, committed: Rows) -> None:
    training_id = ask(database, TINY)
    worker_id = committed.worker()
    assert claim(database, worker_id) is not None
    committed.shift_lease(worker_id, -1)

    with database.begin() as connection:
        taken = ledger.reap(connection)

    assert list(taken.queued) == [training_id]
    assert read(database, training_id).crash_count == 1


def test_feedback_is_learned_from_and_the_lineage_tells_both_ways(
    runner: TrainingRunner, database: Database, committed: Rows
) -> None:
    ids = correct(database, committed, count=6)
    training_id = ask(database, replace(TINY, feedback=FeedbackChoice.ALL, holdout=0.0))

    runner.drain()

    training = read(database, training_id)
    assert (training.status, training.example_count) == ("succeeded", 6)
    assert training.metrics is not None
    assert training.metrics["train_items"] == 4 * 64 + 6
    with open_session(database) as session:
        rows = list_examples(session, training_id, api_key_id=None, after=None, limit=10)
    assert [row.prediction_id for row in rows] == sorted(ids)


def test_the_manifest_holds_rows_labels_hashes_and_counts(
    runner: TrainingRunner, database: Database, committed: Rows, objects: ObjectStore
) -> None:
    correct(database, committed, count=4)
    training_id = ask(database, replace(TINY, feedback=FeedbackChoice.ALL, holdout=0.0))

    runner.drain()

    digest = read(database, training_id).manifest_sha256
    assert digest is not None
    data = objects.get(digest)
    assert sha256_hex(data) == digest
    header, *rows = (json.loads(line) for line in data.decode().splitlines())
    assert (header["rows"], header["counts"]["sources"]) == (4, {"desk": 4})
    assert set(rows[0]) == {"prediction_id", "revision", "label", "source", "weight", "input_sha256", "is_file"}


def test_new_feedback_is_what_no_successful_training_saw(
    runner: TrainingRunner, database: Database, committed: Rows
) -> None:
    correct(database, committed, count=4)
    options = replace(TINY, feedback=FeedbackChoice.NEW, holdout=0.0)
    ask(database, options)
    runner.drain()
    correct(database, committed, count=2)

    training_id = ask(database, options)
    runner.drain()

    assert read(database, training_id).example_count == 2


def test_going_on_begins_with_the_weights_of_the_champion(runner: TrainingRunner, database: Database) -> None:
    training_id = ask(database, replace(TINY, epochs=1, start=TrainingStart.CHAMPION, learning_rate=1e-9))

    runner.drain()

    metrics = read(database, training_id).metrics
    assert metrics is not None
    assert metrics["accuracy"] == 1.0


def test_posted_data_train_a_network_from_nothing_that_answers_next(
    runner: TrainingRunner, database: Database, objects: ObjectStore
) -> None:
    with open_session(database) as session:
        before = resolve(session, "xor")
    packed, rows = pack_json(XOR_TABLE, XOR_ANSWERS, before)
    data = PostedData(sha256=objects.put(packed), rows=rows)
    training_id = ask(database, TrainingOptions(promote=True), data=data)

    runner.drain()

    training = read(database, training_id)
    assert (training.status, training.error_detail) == ("succeeded", None)
    assert training.metrics is not None
    assert training.metrics["train_accuracy"] == 1.0
    with open_session(database) as session:
        assert training.version is not None
        assert resolve(session, "xor").number == training.version.number != before.number


def test_two_processes_train_together(runner: TrainingRunner, database: Database) -> None:
    training_id = ask(database, replace(TINY, processes=2))

    runner.drain()

    training = read(database, training_id)
    assert (training.status, training.error_detail) == ("succeeded", None)
    assert jobs() == []


def test_what_the_holdout_leaves_over_must_be_enough(
    runner: TrainingRunner, database: Database, committed: Rows
) -> None:
    correct(database, committed, count=4)
    options = TrainingOptions(use_base=False, feedback=FeedbackChoice.ALL, holdout=0.0)
    training_id = ask(database, options)
    with database.begin() as connection:
        connection.execute(text("DELETE FROM feedback"))

    runner.drain()

    training = read(database, training_id)
    assert (training.status, training.error_code) == ("failed", "no_data")


def ask(database: Database, options: TrainingOptions, **changes: Any) -> UUID:
    with open_session(database) as session:
        training = request_training(
            session, name="xor", options=options, trigger=TrainingTrigger.API, actor="tests", **changes
        )
        return training.id


def read(database: Database, training_id: UUID) -> Training:
    with open_session(database) as session:
        return get_training(session, training_id, with_log=True)


def claim(database: Database, worker_id: int) -> TrainingClaim | None:
    with database.begin() as connection:
        return ledger.claim_training(connection, worker_id=worker_id, device="cpu:0")


def correct(database: Database, committed: Rows, count: int) -> list[UUID]:
    """Answer so many predictions and say what was right, each label in turn."""
    ids = committed.add_many(count)
    answered = [each for each in committed.claim() if each.id in ids]
    complete(committed.connection, [success(each) for each in answered])
    with database.begin() as connection:
        for number, prediction_id in enumerate(ids):
            connection.execute(
                text("""
                    INSERT INTO feedback (prediction_id, api_key_id, model_id, model_version_id, label, source, weight,
                        recorded_by, predicted_at)
                    SELECT id, api_key_id, model_id, model_version_id, to_jsonb(CAST(:label AS text)), 'desk', 1,
                        api_key_id, created_at FROM predictions WHERE id = :id
                """),
                {"id": prediction_id, "label": str(number % 2)},
            )
    return ids


def jobs() -> list[psutil.Process]:
    """Processes of trainings that this test process started."""
    children = psutil.Process().children(recursive=True)
    return [child for child in children if child.status() != psutil.STATUS_ZOMBIE and "ml.job" in child.cmdline()]


def kill_process() -> None:
    for job in jobs():
        os.kill(job.pid, signal.SIGKILL)


def wait_for_checkpoint(database: Database, training_id: UUID) -> None:
    until = time.monotonic() + PATIENCE_S
    while read(database, training_id).checkpoint_epoch is None:
        assert time.monotonic() < until, "no checkpoint came"
        time.sleep(0.05)


