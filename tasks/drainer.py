"""The inference worker's loop: claim, decode, compute, complete, until nothing is left or the time is up.

Three threads make a pipeline: while the device computes batch k, batch k+1 is claimed and decoded, and the
results of batch k-1 are committed. A batch is whatever waits at that moment: the device never idles for a
fuller one. A network so small that it computes faster than a claim takes gains nothing from that: its batches
go through one thread, one step after the other.
"""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import suppress

import redis
import structlog
from sqlalchemy import Engine as Database
from sqlalchemy.exc import DBAPIError

from ml.engine import Engine
from ml.engine import Outcome as Computed
from ml.errors import DeviceLostError
from schemas.enums import ErrorCode, StopReason
from store.errors import ObjectsUnavailableError
from store.failpoints import hit
from store.ledger import ATTEMPT_BUDGET_S
from store.ledger_rows import Claim, Outcome
from store.objects import ObjectStore
from store.replies import publish_idle
from tasks.completion import Completion
from tasks.finishing import FinishContext, Finishers
from tasks.intake import MS, Batch, Intake
from tasks.life import WorkerLife
from tasks.loader import ModelLoader
from tasks.pace import Pace
from tasks.progress import ComputeBudgets, Progress
from tasks.spool import Spool
from tasks.watchdog import EXIT_UNUSABLE, QUIT_WITHIN_S

log = structlog.get_logger()

#: A task ends after so long even under load, so that Flower shows runtimes and messages do not pile up.
DRAIN_BOUND_S = 1.0

#: A version whose last batch computed faster than a claim takes is not pipelined.
PIPELINE_ABOVE_MS = 3.0


class Drainer:
    """Runs what is queued on one device.

    Args:
        engine: Holds the models; already on its device.
        loader: Brings a version onto the device when a row asks for it.
        life: The lease under which claims are made.
        claims_database: Made `for_claims`: a claim that a crash undoes is a row that is still queued.
        results_database: Durable: what it commits is told to clients.
        objects: Where stored inputs are.
        replies: Where finished predictions are published.
        device: Written into the rows.
        queues: Reported idle when nothing is left.
        spool: Holds results while Postgres is away.
        progress: Told what the loop does.
        pace: Learns how fast this device is, and tells what it leaves to faster ones.
    """

    def __init__(
        self,
        *,
        engine: Engine,
        loader: ModelLoader,
        life: WorkerLife,
        claims_database: Database,
        results_database: Database,
        objects: ObjectStore,
        replies: redis.Redis,
        device: str,
        queues: Sequence[str],
        spool: Spool,
        progress: Progress | None = None,
        pace: Pace | None = None,
    ) -> None:
        self._engine = engine
        self._loader = loader
        self._life = life
        self._replies = replies
        self._queues = queues
        self._pace = pace or Pace()
        finishers = Finishers(FinishContext(database=results_database, objects=objects))
        self._completion = Completion(results_database, replies, finishers, spool)
        self._progress = progress or Progress()
        self._budgets = ComputeBudgets(ATTEMPT_BUDGET_S)
        self._intake = Intake(
            engine=engine,
            loader=loader,
            life=life,
            database=claims_database,
            objects=objects,
            replies=replies,
            device=device,
            fail=self._fail,
            may_claim=lambda: not self._completion.waits(),
            progress=self._progress,
            pace=self._pace,
        )
        self._busy = threading.Lock()
        self._stopping = threading.Event()
        self._ahead = ThreadPoolExecutor(1, thread_name_prefix="claim")
        self._behind = ThreadPoolExecutor(1, thread_name_prefix="complete")
        self._completing: list[Future[None]] = []
        self._compute_ms: dict[tuple[str, int], float] = {}

    def drain(self, *, probe: bool = False) -> bool:
        """Run batches until nothing is left or the bound is reached.

        Args:
            probe: Begin with a single row, also where faster devices would finish it sooner.

        Returns:
            True when rows may be left: ring again.
        """
        with self._busy:
            try:
                return self._drain(probe=probe)
            except MemoryError:
                # Not of a batch, which the engine halves: this process has nothing left to work with.
                self._quit(StopReason.OUT_OF_MEMORY)
                raise

    def settle(self) -> None:
        """Store what could not be stored before.

        Raises:
            SQLAlchemyError: Postgres is still away.
        """
        # What waits for the object store alone shall not keep a new life from beginning.
        with suppress(ObjectsUnavailableError):
            self._completion.settle()

    def _drain(self, *, probe: bool) -> bool:
        batch = self._intake.take(probe=probe)
        # From here, not from the claim: a batch that takes long to decode must be run, or it never would be.
        until = time.monotonic() + DRAIN_BOUND_S
        while batch is not None and self._may_launch():
            # What was prepared when the time is up is run too, since giving it back would waste its decoding.
            last = time.monotonic() >= until
            batch = self._run(batch, more=not last)
            if last:
                self._settle()
                return not self._stopping.is_set()
        self._settle()
        if batch is not None:
            self._release([batch], self._intake.give_back)
            return False
        publish_idle(self._replies, self._queues)
        return False

    def stop(self) -> None:
        """Finish the running batch, give back the rest and claim no more."""
        self._stopping.set()
        self._intake.stop()
        hit("worker.draining")

    def close(self) -> None:
        """End the threads and give the connections back. Nothing may drain any more."""
        self._ahead.shutdown()
        self._behind.shutdown()
        self._intake.close()
        self._completion.close()

    def _run(self, batch: Batch, *, more: bool) -> Batch | None:
        """Compute one batch and return the next, which is prepared meanwhile when there is time for it."""
        batch = self._drop_late(batch)
        pipelined = self._compute_ms.get(batch.key, 0.0) > PIPELINE_ABOVE_MS
        following = self._ahead.submit(self._intake.take) if pipelined and more else None
        try:
            outcomes = self._compute(batch)
        except DeviceLostError as error:
            # Nothing computes in this process again. None of the rows was to blame.
            log.critical("device_lost", error=str(error))
            self._quit(StopReason.DEVICE_LOST)
            raise
        except MemoryError:
            # All that this process holds is given back when it ends, in a moment.
            raise
        except Exception:
            # Whatever it was: rows that are held by nobody's hand would hang until their budget is over.
            self._release([batch, following.result() if following else None], self._intake.put_off)
            raise
        self._intake.let_go(batch)
        self._remember_ceilings()
        if pipelined:
            self._completing.append(self._behind.submit(self._finish, batch, outcomes))
        else:
            self._settle()
            self._finish(batch, outcomes)
        if following is not None:
            return following.result()
        return self._intake.take() if more else None

    def _drop_late(self, batch: Batch) -> Batch:
        """Leave out what nobody wants any more: it waited for its model, its decoding, or the batch ahead of it."""
        late = batch.late()
        if not late:
            return batch
        try:
            self._intake.expire(late)
        except DBAPIError as error:
            # Postgres is away. Held by nobody they would count as a crash; late answers are stored when it is back.
            log.warning("claims_not_expired", count=len(late), error=str(error))
            return batch
        return batch.without(late)

    def _finish(self, batch: Batch, outcomes: Sequence[Outcome]) -> None:
        if not outcomes:
            # All of it was late.
            return
        self._completion.finish_batch(batch.kind, outcomes)
        self._pace.book.note_batch(f"{batch.key[0]}/{batch.key[1]}", len(outcomes), batch.taken_at)

    def _compute(self, batch: Batch) -> list[Outcome]:
        started = time.perf_counter()
        with self._progress.at_work("device", self._budgets.budget_s(batch.key, len(batch.claims))):
            hit("worker.on_device")
            computed = self._engine.compute(batch.key, batch.decoded)
        compute_ms = (time.perf_counter() - started) * MS
        self._budgets.note(batch.key, len(batch.claims), compute_ms / MS)
        self._compute_ms[batch.key] = compute_ms
        return [
            _outcome(claim, each, batch.decode_ms, compute_ms)
            for claim, each in zip(batch.claims, computed, strict=True)
        ]

    def _may_launch(self) -> bool:
        """Whether a batch may go to the device: not when somebody else may own its rows already."""
        return self._life.is_valid() and not self._stopping.is_set()

    def _quit(self, reason: StopReason) -> None:
        """End the process; nobody rings a worker whose life has ended."""
        self.stop()
        # What is being claimed ahead must be ours when all is given back, not come a moment later.
        with suppress(FutureTimeoutError, MemoryError):
            self._ahead.submit(int).result(QUIT_WITHIN_S / 2)
        self._life.quit(reason, EXIT_UNUSABLE, within_s=QUIT_WITHIN_S)

    def _fail(self, outcomes: Sequence[Outcome]) -> None:
        """Store outcomes from the thread that is ahead; the connection belongs to the one behind."""
        self._behind.submit(self._completion.finish, outcomes).result()

    def _settle(self) -> None:
        """Wait for what is being committed, so that no result outlives its task."""
        completing, self._completing = self._completing, []
        for completion in completing:
            completion.result()

    def _remember_ceilings(self) -> None:
        for learned in self._engine.take_learned():
            self._completing.append(self._behind.submit(self._loader.remember, learned))

    def _release(self, batches: Sequence[Batch | None], release: Callable[[Sequence[Claim]], None]) -> None:
        held = [batch for batch in batches if batch is not None]
        for batch in held:
            self._intake.let_go(batch)
        release([claim for batch in held for claim in batch.claims])


def _outcome(claim: Claim, computed: Computed, decode_ms: float, compute_ms: float) -> Outcome:
    return Outcome(
        claim=claim,
        result=computed.result,
        error_code=None if computed.error_code is None else ErrorCode(computed.error_code),
        error_detail=computed.error_detail,
        decode_ms=round(decode_ms, 3),
        compute_ms=round(compute_ms, 3),
    )
