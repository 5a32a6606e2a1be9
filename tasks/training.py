"""Trainings in a process of their own: claimed, watched, kept after every epoch, and registered as versions.

The process is killed when its training is cancelled, past its time limit, or when this worker loses its lease; what it
leaves is the last checkpoint, from which whoever claims it next goes on.
"""

import json
import shutil
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from uuid import UUID

import structlog
from celery import Celery
from sqlalchemy import Connection
from sqlalchemy import Engine as Database
from sqlalchemy.exc import SQLAlchemyError

from schemas.enums import TrainingErrorCode
from schemas.names import TaskName
from schemas.training_options import TrainingOptions
from store import training_ledger as ledger
from store.database import open_session
from store.errors import NoTrainingDataError, ObjectMissingError, ObjectsUnavailableError, StaleClaimError
from store.failpoints import hit
from store.models import register_version
from store.objects import ObjectStore
from store.promotion import promote
from store.training_ledger import TrainingClaim
from store.trainings import get_training
from tasks.errors import TrainingStoppedError, TrainingTimeLimitError
from tasks.life import WorkerLife
from tasks.training_folder import Place, prepare_folder
from tasks.training_process import TrainingProcess
from tasks.training_watch import TrainingWatch

log = structlog.get_logger()

#: How often a training that says nothing is looked after: a cancel is seen within this and the pause of its reports.
TICK_S = 0.25

#: Pause before a write that failed is tried again.
RETRY_S = 1.0

OUT_NAME = "out"

Judge = Callable[[str, int, UUID], None]
"""Told the model, the number of a version that was just registered, and the training that made it."""

OnProgress = Callable[[Mapping[str, Any]], None]


class TrainingRunner:
    """Runs one training after another.

    Args:
        database: Where trainings are.
        objects: Where weights, inputs and checkpoints are.
        life: Of this worker; its lease is what trainings are held by.
        work_dir: For the folders of running trainings.
        device: Written into the rows.
        place: What trainings compute with.
        judge: Compares a new version with the champion.
        on_progress: Told of every event of progress.
    """

    def __init__(
        self,
        *,
        database: Database,
        objects: ObjectStore,
        life: WorkerLife,
        work_dir: Path,
        device: str,
        place: Place,
        judge: Judge,
        on_progress: OnProgress = lambda _progress: None,
    ) -> None:
        self._database, self._objects, self._life = database, objects, life
        self._work_dir, self._device, self._place = work_dir, device, place
        self._judge, self._on_progress = judge, on_progress
        self._stopping = threading.Event()

    def drain(self) -> None:
        """Run trainings until none waits."""
        while not self._stopping.is_set():
            with self._database.begin() as connection:
                claim = ledger.claim_training(connection, worker_id=self._life.worker_id, device=self._device)
            if claim is None:
                return
            hit("training.after_claim")
            self.run(claim)

    def stop(self) -> None:
        """Kill what runs and give it back, so that another worker goes on; nothing is started any more."""
        self._stopping.set()

    def run(self, claim: TrainingClaim) -> None:
        """Run a training that was claimed, to its end or until it is no longer ours."""
        folder = self._work_dir / str(claim.id)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        log.info("training_started", training_id=str(claim.id), model=claim.model, attempt=claim.attempt)
        try:
            number = self._train(claim, folder)
        except StaleClaimError:
            log.info("training_lost", training_id=str(claim.id))
        except TrainingStoppedError:
            self._settle(lambda connection: ledger.release(connection, claim))
        except TrainingTimeLimitError as error:
            self._fail(claim, TrainingErrorCode.TIME_LIMIT, str(error))
        except NoTrainingDataError as error:
            self._fail(claim, TrainingErrorCode.NO_DATA, str(error))
        except ObjectMissingError as error:
            self._fail(claim, TrainingErrorCode.INTERNAL, str(error))
        except (ObjectsUnavailableError, SQLAlchemyError) as error:
            log.warning("training_interrupted", training_id=str(claim.id), error=str(error))
            self._settle(lambda connection: ledger.crash(connection, claim, detail="a server did not answer"))
        # A fault of ours must not leave a training that nobody works on and nobody takes back.
        except Exception as error:
            log.exception("training_broke", training_id=str(claim.id))
            self._fail(claim, TrainingErrorCode.INTERNAL, f"a fault of ours: {type(error).__name__}; see the log")
        else:
            if number is not None and not TrainingOptions.load(claim.options).promote:
                self._have_judged(claim, number)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _have_judged(self, claim: TrainingClaim, number: int) -> None:
        try:
            self._judge(claim.model, number, claim.id)
        # Whatever went wrong, the version is there and `judge_waiting` finds it; the trainings that wait go on.
        except Exception:
            log.exception("version_not_judged", training_id=str(claim.id), model=claim.model, version=number)

    def _train(self, claim: TrainingClaim, folder: Path) -> int | None:
        """Train; returns the number of the new version, None when there is none."""
        line = f"attempt {claim.attempt} on {self._device}"
        watch = TrainingWatch(claim, database=self._database, life=self._life, stopping=self._stopping, line=line)
        prepare_folder(
            folder, claim, database=self._database, objects=self._objects, place=self._place, check=watch.check
        )
        processes = TrainingOptions.load(claim.options).processes
        with TrainingProcess(folder, threads=self._place.threads, processes=processes) as process:
            while True:
                told, is_over = process.read(TICK_S)
                if is_over:
                    break
                self._hear(told, watch, claim, folder)
                watch.check()
            status = process.wait()
        watch.report()
        if status == 0:
            return self._register(claim, folder / OUT_NAME)
        self._end_failed(claim, watch, status, alone=processes == 1)
        return None

    def _hear(
        self, told: str | Mapping[str, Any] | None, watch: TrainingWatch, claim: TrainingClaim, folder: Path
    ) -> None:
        if told is None:
            return
        if isinstance(told, str):
            watch.note(told)
        elif told["event"] == "progress":
            watch.progress = {name: value for name, value in told.items() if name != "event"}
            self._on_progress(watch.progress)
        elif told["event"] == "checkpoint":
            self._keep(claim, told["epoch"], folder / told["file"])
        elif told["event"] == "failed":
            watch.failure = told

    def _keep(self, claim: TrainingClaim, epoch: int, offered: Path) -> None:
        """Put a checkpoint where every worker finds it; the process waits until then."""
        data = offered.read_bytes()
        digest = self._objects.put(data)
        hit("training.before_checkpoint")
        with self._database.begin() as connection:
            is_ours, before = ledger.save_checkpoint(connection, claim, digest=digest, epoch=epoch)
        if not is_ours:
            self._objects.remove(digest)
            raise StaleClaimError(f"training {claim.id} is no longer ours")
        hit("training.after_checkpoint")
        offered.unlink()
        if before is not None and before != digest:
            self._objects.remove(before)

    def _register(self, claim: TrainingClaim, out: Path) -> int:
        config = json.loads((out / "model.json").read_text())
        metrics = json.loads((out / "metrics.json").read_text())
        weights = (out / "weights.safetensors").read_bytes()
        digest = self._objects.put(weights)
        hit("training.before_register")
        with open_session(self._database) as session:
            version = register_version(
                session,
                name=claim.model,
                kind=config["kind"],
                config=config,
                weights_sha256=digest,
                weights_bytes=len(weights),
                metrics=metrics,
                source="trained",
                parent_id=claim.parent_version_id,
                training_id=claim.id,
            )
            if not ledger.succeed(session.connection(), claim, version_id=version.id, metrics=metrics):
                raise StaleClaimError(f"training {claim.id} is no longer ours")
            training = get_training(session, claim.id)
            if TrainingOptions.load(claim.options).promote:
                promote(
                    session,
                    name=claim.model,
                    number=version.number,
                    actor=training.actor,
                    reason=f"training {claim.id} was asked to promote what comes of it",
                    figures=metrics,
                )
            number = version.number
            hit("training.before_commit")
        hit("training.after_commit")
        if training.checkpoint_sha256 is not None:
            self._objects.remove(training.checkpoint_sha256)
        log.info("model_trained", training_id=str(claim.id), model=claim.model, version=number)
        return number

    def _end_failed(self, claim: TrainingClaim, watch: TrainingWatch, status: int, *, alone: bool) -> None:
        if watch.failure is not None:
            self._fail(claim, TrainingErrorCode(watch.failure["code"]), watch.failure["detail"])
        elif status < 0 or not alone:
            # Killed, by the kernel for its memory or by somebody; of several, the launcher tells no more than that.
            detail = f"its process died again and again (status {status}) without coming a checkpoint further"
            self._settle(lambda connection: ledger.crash(connection, claim, detail=detail))
        else:
            self._fail(claim, TrainingErrorCode.INTERNAL, f"its process ended with status {status}; see its log")

    def _fail(self, claim: TrainingClaim, code: TrainingErrorCode, detail: str) -> None:
        log.warning("training_failed", training_id=str(claim.id), code=str(code), detail=detail)
        self._settle(lambda connection: ledger.fail(connection, claim, code=code, detail=detail))

    def _settle(self, write: Callable[[Connection], bool]) -> None:
        """Write how it ended, however long Postgres is away: while this worker lives, nobody else will."""
        while True:
            try:
                with self._database.begin() as connection:
                    write(connection)
            except SQLAlchemyError as error:
                log.warning("training_not_settled", error=str(error))
                if self._stopping.is_set():
                    return
                time.sleep(RETRY_S)
            else:
                return


def register(app: Celery, runner: TrainingRunner) -> None:
    """Register the training task."""

    @app.task(name=TaskName.TRAIN_MODEL, shared=False)
    def train_model(*, training_id: str, model: str) -> None:  # noqa: ARG001 - for the reader of Flower
        """Run the trainings that wait."""
        runner.drain()
