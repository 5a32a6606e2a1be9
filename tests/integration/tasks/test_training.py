"""`tasks.training`: real trainings in processes of their own."""

import json
import os
import re
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import UUID

import psutil
import pytest
import safetensors.torch
import torch
from sqlalchemy import Engine as Database
from sqlalchemy import text

from schemas.enums import FeedbackChoice, TrainingTrigger, WorkerRole
from schemas.training_options import TrainingOptions
from store import training_ledger as ledger
from store.database import open_session
from store.errors import ObjectMissingError, ObjectsUnavailableError
from store.gate_verdicts import waiting_for_judgement
from store.ledger import complete
from store.lineage import versions_that_saw
from store.models import ServedVersion, get_version, resolve
from store.objects import ObjectStore
from store.tables.training import Training
from store.trainings import PostedData, get_training, list_examples, request_training
from tasks.life import WorkerLife
from tasks.training import TrainingRunner
from tasks.training_folder import Place, prepare_folder
from tasks.training_process import TrainingProcess
from tests.factories import Rows, autocommit, clean, success
from tests.running import PATIENCE_S, wait_until
from webapp.posted import pack_json

TINY = TrainingOptions(epochs=2, feedback=FeedbackChoice.NONE)

#: So many that it is killed before it ends.
ENDLESS = replace(TINY, epochs=2_000)

#: Two that train, and what launched them; endless also where each step waits for the other process.
ENDLESS_PAIR = replace(TINY, epochs=100_000, processes=2)
PAIR_AND_LAUNCHER = 3


#: Rows whose input is a file that is not in the object store any more.
NO_FILE: dict[str, Any] = {"input": None, "input_sha256": "0" * 64}

#: One of sixty files: together they take longer than a cancel may.
SLOW_FETCH_S = 0.2

XOR_TABLE = [[0, 0], [0, 1], [1, 0], [1, 1]]
XOR_ANSWERS = [0, 1, 1, 0]

#: Sums of floats in another order, and what an optimizer makes of that; half of a batch alone differs by tenths.
SUMMED_OTHERWISE = 1e-3


@pytest.fixture(autouse=True, scope="module")
def _not_nice() -> Iterator[None]:
    """On a busy machine a polite training would outlast the test's time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tasks.training_process.NICENESS", 0)
        yield


@dataclass
class Bench:
    """What the trainings of this file run with."""

    database: Database
    objects: ObjectStore
    life: WorkerLife
    folder: Path

    def runner(self, **changes: Any) -> TrainingRunner:
        """Make a runner; arguments replace its collaborators."""
        collaborators: dict[str, Any] = {
            "database": self.database,
            "objects": self.objects,
            "life": self.life,
            "work_dir": self.folder,
            "device": "cpu:0",
            "place": Place(device="cpu", threads=1),
            "judge": lambda _model, _number, _training_id: None,
        }
        return TrainingRunner(**collaborators | changes)


@dataclass
class Clock:
    """Stands in for the module `time`, and is put forward at will."""

    ahead_s: float = 0.0
    sleep = staticmethod(time.sleep)

    def monotonic(self) -> float:
        """Seconds since some moment."""
        return time.monotonic() + self.ahead_s


@dataclass
class Finished:
    """A training on feedback whose process was killed on the way, another that was left alone, and what was told."""

    killed: Training
    undisturbed: Training
    judged: list[tuple[str, int, UUID]]
    corrected: list[UUID]


@pytest.fixture(scope="module")
def bench(database: Database, objects: ObjectStore, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    life = WorkerLife(
        database, name="training@here", role=WorkerRole.TRAINING, device="cpu:0", queue="training", held=list
    )
    life.begin()
    yield Bench(database, objects, life, tmp_path_factory.mktemp("trainings"))
    life.end()
    clean(database)


@pytest.fixture(scope="module")
def finished(bench: Bench, database: Database, xor: ServedVersion) -> Finished:
    """Two processes, since each takes seconds to start; many tests look at what they left."""
    judged: list[tuple[str, int, UUID]] = []
    kills: list[int] = []

    def kill(progress: Any) -> None:
        if progress["epoch"] >= 3 and not kills:
            kills.append(progress["epoch"])
            kill_process()

    with autocommit(database) as connection:
        corrected = correct(database, Rows(connection, xor), count=6)
    options = TrainingOptions(epochs=8, seed=7, holdout=0.0)
    undisturbed = ask(database, options)
    bench.runner(judge=lambda *told: judged.append(told)).drain()
    killed = ask(database, options)
    bench.runner(on_progress=kill).drain()
    return Finished(read(database, killed), read(database, undisturbed), judged, corrected)


@pytest.fixture
def runner(bench: Bench) -> Iterator[TrainingRunner]:
    """A runner; what the test commits is removed at its end."""
    yield bench.runner()
    clean_trainings(bench.database)


def test_a_training_registers_a_version_that_does_not_answer_yet(
    finished: Finished, database: Database, objects: ObjectStore
) -> None:
    training = finished.undisturbed

    assert (training.status, training.attempt, training.error_detail) == ("succeeded", 1, None)
    assert training.version is not None
    with open_session(database) as session:
        version = get_version(session, "xor", training.version.number)
        assert (version.source, version.metrics["seed"], version.training_id) == ("trained", 7, training.id)
        assert version.parent_id == training.parent_version_id
        assert len(objects.get(version.weights_sha256)) == version.weights_bytes
        assert resolve(session, "xor").number != version.number


def test_a_new_version_is_judged(finished: Finished) -> None:
    assert finished.undisturbed.version is not None
    assert finished.judged == [("xor", finished.undisturbed.version.number, finished.undisturbed.id)]


def test_progress_and_the_log_stay_readable(finished: Finished) -> None:
    training = finished.undisturbed

    assert training.progress is not None
    assert (training.progress["epoch"], training.progress["epochs"]) == (8, 8)
    assert training.progress["step"] == training.progress["steps"]
    assert "attempt 1 on cpu:0\nepoch 1/8 " in training.log


def test_a_killed_training_goes_on_from_its_checkpoint(finished: Finished) -> None:
    assert (finished.killed.status, finished.killed.attempt) == ("succeeded", 2)
    after = finished.killed.log.partition("attempt 2")[2]
    assert "epoch 1/8" not in after
    assert "epoch 8/8" in after


def test_the_same_manifest_and_seed_give_the_same_weights_even_after_a_kill(finished: Finished) -> None:
    assert finished.killed.manifest_sha256 == finished.undisturbed.manifest_sha256
    assert finished.killed.version is not None
    assert finished.undisturbed.version is not None
    assert finished.killed.version.weights_sha256 == finished.undisturbed.version.weights_sha256


def test_feedback_is_learned_from_beside_base_data(finished: Finished) -> None:
    metrics = finished.undisturbed.metrics
    assert metrics is not None
    assert metrics["train_items"] == 4 * 64 + 6


def test_a_training_tells_what_it_learned_from(finished: Finished, database: Database) -> None:
    with open_session(database) as session:
        rows = list_examples(session, finished.killed.id, api_key_id=None, after=None, limit=10)

    assert [row.prediction_id for row in rows] == sorted(finished.corrected)


def test_a_prediction_tells_which_versions_learned_from_it(finished: Finished, database: Database) -> None:
    with open_session(database) as session:
        versions = versions_that_saw(session, finished.corrected[:1])

    assert [each.id for each in versions] == [finished.undisturbed.model_version_id, finished.killed.model_version_id]


def test_the_manifest_holds_rows_labels_hashes_and_counts(finished: Finished, objects: ObjectStore) -> None:
    digest = finished.killed.manifest_sha256
    assert digest is not None

    header, *rows = (json.loads(line) for line in objects.get(digest).decode().splitlines())

    assert (header["rows"], header["counts"]["sources"]) == (6, {"desk": 6})
    assert set(rows[0]) == {"prediction_id", "revision", "label", "source", "weight", "input_sha256", "is_file"}


def test_a_checkpoint_that_nobody_needs_is_removed(finished: Finished, objects: ObjectStore) -> None:
    digest = finished.killed.checkpoint_sha256
    assert digest is not None
    with pytest.raises(ObjectMissingError):
        objects.get(digest)


def test_a_cancelled_training_ends_within_seconds_and_leaves_no_process(
    runner: TrainingRunner, database: Database
) -> None:
    training_id = ask(database, ENDLESS)
    thread = threading.Thread(target=runner.drain)
    thread.start()
    wait_for_job()

    with database.begin() as connection:
        assert ledger.cancel(connection, training_id)
    thread.join(PATIENCE_S)

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
    wait_for_job()

    runner.stop()
    thread.join(PATIENCE_S)

    training = read(database, training_id)
    assert (training.status, training.crash_count) == ("queued", 0)
    assert jobs() == []


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


def test_two_processes_share_each_batch_and_make_what_one_makes(
    runner: TrainingRunner, database: Database, objects: ObjectStore
) -> None:
    alone, together = (train_on_table(runner, database, objects, processes=count) for count in (1, 2))

    assert (together.status, together.error_detail) == ("succeeded", None)
    assert "2 processes train together" in together.log
    assert "train together" not in alone.log
    # The first process tells of its own half of each batch, which is another loss than that of the whole.
    assert losses(together) != losses(alone)
    for name, weights in load_weights(together, objects).items():
        torch.testing.assert_close(weights, load_weights(alone, objects)[name], atol=SUMMED_OTHERWISE, rtol=0.0)


def test_a_cancelled_training_of_two_processes_leaves_none(runner: TrainingRunner, database: Database) -> None:
    training_id = ask(database, ENDLESS_PAIR)
    thread = threading.Thread(target=runner.drain)
    thread.start()
    started = wait_for_job(PAIR_AND_LAUNCHER)

    with database.begin() as connection:
        assert ledger.cancel(connection, training_id)
    thread.join(PATIENCE_S)

    assert not thread.is_alive()
    assert [job for job in started if is_alive(job)] == []
    assert read(database, training_id).status == "canceled"


@pytest.mark.usefixtures("runner")
@pytest.mark.parametrize("is_running", [False, True], ids=["as they start", "as they train"])
def test_processes_that_train_together_die_with_their_launcher(
    bench: Bench, database: Database, tmp_path: Path, *, is_running: bool
) -> None:
    prepare(bench, tmp_path, claim(bench, ask(database, ENDLESS_PAIR)))

    with TrainingProcess(tmp_path, threads=1, processes=2) as process:
        ranks = [job for job in wait_for_job(PAIR_AND_LAUNCHER) if job.pid != process.pid]
        while is_running and not isinstance(process.read(PATIENCE_S)[0], dict):
            pass
        os.kill(process.pid, signal.SIGKILL)
        wait_until(lambda: not any(map(is_alive, ranks)))


@pytest.mark.usefixtures("runner")
def test_the_time_limit_ends_two_processes(bench: Bench, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[psutil.Process] = []
    clock = Clock()
    monkeypatch.setattr("tasks.training_watch.time", clock)

    def run_late(_progress: Any) -> None:
        started[:] = started or jobs()
        clock.ahead_s = 2 * TrainingOptions().time_limit_s

    training_id = ask(database, ENDLESS_PAIR)
    bench.runner(on_progress=run_late).drain()

    training = read(database, training_id)
    assert (training.status, training.error_code) == ("failed", "time_limit")
    assert len(started) == PAIR_AND_LAUNCHER
    assert [job for job in started if is_alive(job)] == []


def test_a_judge_that_fails_costs_neither_the_version_nor_the_trainings_that_wait(
    bench: Bench, database: Database
) -> None:
    asked = [ask(database, TINY)]

    def fail(_model: str, _number: int, _training_id: UUID) -> None:
        if len(asked) == 1:
            asked.append(ask(database, TINY))
        raise ObjectsUnavailableError("the object store is away")

    bench.runner(judge=fail).drain()

    done = [read(database, training_id) for training_id in asked]
    assert [training.status for training in done] == ["succeeded", "succeeded"]
    with open_session(database) as session:
        waiting = waiting_for_judgement(session, older_than_s=0.0)
    assert {("xor", training.version.number) for training in done if training.version} <= set(waiting)


def test_feedback_that_is_gone_by_the_start_fails_the_training(
    runner: TrainingRunner, database: Database, xor: ServedVersion
) -> None:
    with autocommit(database) as connection:
        correct(database, Rows(connection, xor), count=4)
    training_id = ask(database, TrainingOptions(use_base=False))
    with database.begin() as connection:
        connection.execute(text("DELETE FROM feedback"))

    runner.drain()

    training = read(database, training_id)
    assert (training.status, training.error_code) == ("failed", "no_data")


@pytest.mark.usefixtures("runner")
def test_what_is_forgotten_while_a_manifest_is_made_is_not_in_it(
    bench: Bench, database: Database, xor: ServedVersion, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with autocommit(database) as connection:
        gone, *kept = correct(database, Rows(connection, xor), count=5)
    training_id = ask(database, TrainingOptions(use_base=False, holdout=0.0))
    store = bench.objects.put

    def put(data: bytes) -> str:
        with database.begin() as connection:
            connection.execute(text("DELETE FROM feedback WHERE prediction_id = :id"), {"id": gone})
        return store(data)

    monkeypatch.setattr(bench.objects, "put", put)

    prepare(bench, tmp_path, claim(bench, training_id))

    seen = learned_from(database, training_id)
    assert gone not in seen
    assert set(kept) <= seen


@pytest.mark.usefixtures("runner")
def test_what_is_gone_before_it_is_read_was_not_learned_from(
    bench: Bench, database: Database, xor: ServedVersion, tmp_path: Path
) -> None:
    with autocommit(database) as connection:
        lost = correct(database, Rows(connection, xor), count=2, **NO_FILE)
        correct(database, Rows(connection, xor), count=4)
    training_id = ask(database, TrainingOptions(use_base=False, holdout=0.0))

    prepare(bench, tmp_path, claim(bench, training_id))

    training, seen = read(database, training_id), learned_from(database, training_id)
    assert seen.isdisjoint(lost)
    assert training.example_count == len(seen)
    assert training.manifest_sha256 is not None
    header, *rows = map(json.loads, bench.objects.get(training.manifest_sha256).splitlines())
    assert (header["rows"], {UUID(row["prediction_id"]) for row in rows}) == (len(seen), seen)


@pytest.mark.usefixtures("runner")
def test_what_a_checkpoint_has_learned_from_stays_told(
    bench: Bench, database: Database, xor: ServedVersion, tmp_path: Path
) -> None:
    with autocommit(database) as connection:
        corrected = correct(database, Rows(connection, xor), count=4)
    training_id = ask(database, TrainingOptions(use_base=False, holdout=0.0))
    held = claim(bench, training_id)
    prepare(bench, tmp_path / "first", held)
    with database.begin() as connection:
        connection.execute(text("UPDATE predictions SET input = NULL WHERE id = :id"), {"id": corrected[0]})

    manifest = read(database, training_id).manifest_sha256
    resumed = replace(held, manifest_sha256=manifest, checkpoint_sha256=bench.objects.put(b"weights"))
    prepare(bench, tmp_path / "second", resumed)

    assert set(corrected) <= learned_from(database, training_id)
    assert read(database, training_id).manifest_sha256 == manifest


@pytest.mark.usefixtures("runner")
def test_a_training_left_without_inputs_has_nothing_to_learn_from(
    bench: Bench, database: Database, xor: ServedVersion
) -> None:
    with database.begin() as connection:
        connection.execute(text("DELETE FROM feedback"))
    with autocommit(database) as connection:
        correct(database, Rows(connection, xor), count=4, **NO_FILE)
    training_id = ask(database, TrainingOptions(use_base=False, holdout=0.0))

    bench.runner().drain()

    training = read(database, training_id)
    assert (training.status, training.error_code, training.example_count) == ("failed", "no_data", 0)


def test_a_cancel_is_seen_while_inputs_are_fetched(
    runner: TrainingRunner, bench: Bench, database: Database, xor: ServedVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched = threading.Event()

    def get(digest: str) -> bytes:
        fetched.set()
        time.sleep(SLOW_FETCH_S)
        return digest.encode()

    with autocommit(database) as connection:
        correct(database, Rows(connection, xor), count=60, **NO_FILE)
    monkeypatch.setattr(bench.objects, "get", get)
    training_id = ask(database, TrainingOptions(use_base=False, holdout=0.0))
    thread = threading.Thread(target=runner.drain)
    thread.start()
    assert fetched.wait(PATIENCE_S)

    with database.begin() as connection:
        assert ledger.cancel(connection, training_id)
    thread.join(PATIENCE_S)

    assert not thread.is_alive()
    assert jobs() == []


def ask(database: Database, options: TrainingOptions, **changes: Any) -> UUID:
    with open_session(database) as session:
        training = request_training(
            session, name="xor", options=options, trigger=TrainingTrigger.API, actor="tests", **changes
        )
        return training.id


def claim(bench: Bench, training_id: UUID) -> ledger.TrainingClaim:
    with bench.database.begin() as connection:
        held = ledger.claim_training(connection, worker_id=bench.life.worker_id, device="cpu:0", only=training_id)
    assert held is not None
    return held


def prepare(bench: Bench, folder: Path, held: ledger.TrainingClaim) -> None:
    """Lay out a training's folder without starting its process."""
    folder.mkdir(exist_ok=True)
    prepare_folder(
        folder,
        held,
        database=bench.database,
        objects=bench.objects,
        place=Place(device="cpu", threads=1),
        check=lambda: None,
    )


def learned_from(database: Database, training_id: UUID) -> set[UUID]:
    with open_session(database) as session:
        rows = list_examples(session, training_id, api_key_id=None, after=None, limit=100)
        return {row.prediction_id for row in rows}


def read(database: Database, training_id: UUID) -> Training:
    with open_session(database) as session:
        return get_training(session, training_id, with_log=True)


def correct(database: Database, committed: Rows, count: int, **changes: Any) -> list[UUID]:
    """Answer so many predictions and say what was right, each label in turn."""
    ids = committed.add_many(count, **changes)
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


def train_on_table(runner: TrainingRunner, database: Database, objects: ObjectStore, **changes: Any) -> Training:
    """Train on posted data: nothing is drawn but their order, so that the result is the same however many do it."""
    with open_session(database) as session:
        packed, rows = pack_json(XOR_TABLE, XOR_ANSWERS, resolve(session, "xor"))
    training_id = ask(
        database, replace(TINY, seed=7, **changes), data=PostedData(sha256=objects.put(packed), rows=rows)
    )
    runner.drain()
    return read(database, training_id)


def load_weights(training: Training, objects: ObjectStore) -> dict[str, torch.Tensor]:
    assert training.version is not None, training.error_detail
    return safetensors.torch.load(objects.get(training.version.weights_sha256))


def losses(training: Training) -> list[str]:
    return re.findall(r"loss ([0-9.]+)", training.log)


def is_alive(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def jobs() -> list[psutil.Process]:
    """Processes of trainings that this test process started."""
    children = psutil.Process().children(recursive=True)
    return [child for child in children if child.status() != psutil.STATUS_ZOMBIE and "ml.job" in child.cmdline()]


def kill_process() -> None:
    for job in jobs():
        os.kill(job.pid, signal.SIGKILL)


def wait_for_job(count: int = 1) -> list[psutil.Process]:
    until = time.monotonic() + PATIENCE_S
    while len(found := jobs()) < count:
        assert time.monotonic() < until, "no process came"
        time.sleep(0.05)
    return found


def clean_trainings(database: Database) -> None:
    with autocommit(database) as connection:
        connection.execute(text("UPDATE trainings SET status = 'canceled' WHERE status IN ('queued', 'processing')"))
