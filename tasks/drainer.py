"""The inference worker's loop: claim, decode, compute, complete, until nothing is left or the time is up.

Three threads make a pipeline: while the device computes batch k, batch k+1 is claimed and decoded, and the
results of batch k-1 are committed. A batch is whatever waits at that moment: the device never idles for a
fuller one.
"""

import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import redis
import structlog
from sqlalchemy import Engine as Database
from sqlalchemy.exc import DBAPIError

from ml.engine import Engine
from ml.engine import Outcome as Computed
from schemas.enums import ErrorCode
from store import ledger
from store.errors import ObjectMissingError
from store.ledger import Claim, Outcome
from store.objects import ObjectStore
from store.replies import publish, publish_idle
from tasks.errors import ModelUnavailableError
from tasks.life import WorkerLife
from tasks.loader import ModelLoader

log = structlog.get_logger()

#: A task ends after so long even under load, so that Flower shows runtimes and messages do not pile up.
DRAIN_BOUND_S = 1.0

#: Rows in one claim, where the version's own `max_batch` is not less.
CLAIM_LIMIT = 256

# Pictures are fetched side by side: one read of a remote store costs more than decoding.
FETCH_THREADS = 8

# Postgres is asked again after so long while it is away and results wait in memory.
RETRY_S = 0.5


@dataclass(frozen=True, slots=True)
class Batch:
    """Claims of one model version, decoded and ready for the device."""

    claims: Sequence[Claim]
    key: tuple[str, int]
    decoded: list[Any]
    decode_ms: float


class Drainer:
    """Runs what is queued on one device.

    Args:
        engine: Holds the models; already on its device.
        loader: Brings a version onto the device when a row asks for it.
        life: The lease under which claims are made.
        claims_database: Need not be durable: a claim that a crash undoes is a row that is still queued.
        results_database: Durable: what it commits is told to clients.
        objects: Where stored inputs are.
        replies: Where finished predictions are published.
        device: Written into the rows.
        queues: Reported idle when nothing is left.
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
    ) -> None:
        self._engine = engine
        self._loader = loader
        self._life = life
        self._claims_database = claims_database.execution_options(isolation_level="AUTOCOMMIT")
        self._results_database = results_database.execution_options(isolation_level="AUTOCOMMIT")
        self._objects = objects
        self._replies = replies
        self._device = device
        self._queues = queues
        self._busy = threading.Lock()
        self._stopping = threading.Event()
        self._ahead = ThreadPoolExecutor(1, thread_name_prefix="claim")
        self._behind = ThreadPoolExecutor(1, thread_name_prefix="complete")
        self._fetchers = ThreadPoolExecutor(FETCH_THREADS, thread_name_prefix="fetch")

    def drain(self) -> bool:
        """Run batches until nothing is left or the bound is reached.

        Returns:
            True when rows may be left: ring again.
        """
        with self._busy:
            until = time.monotonic() + DRAIN_BOUND_S
            batch = self._take()
            with self._completing() as completions:
                while batch is not None:
                    following = self._ahead.submit(self._take)
                    self._compute(batch, completions)
                    batch = following.result()
                    if time.monotonic() > until or self._stopping.is_set():
                        break
            if batch is not None:
                self._give_back(batch)
                return not self._stopping.is_set()
            publish_idle(self._replies, self._queues)
            return False

    def stop(self) -> None:
        """Finish the running batch, give back the rest and claim no more."""
        self._stopping.set()

    def _take(self) -> Batch | None:
        """Claim and decode the next batch, passing over versions that cannot be loaded."""
        while not self._stopping.is_set() and self._life.is_valid():
            with self._claims_database.connect() as connection:
                claims = ledger.claim(
                    connection, worker_id=self._life.worker_id, device=self._device, limit=CLAIM_LIMIT
                )
            if not claims:
                return None
            try:
                return self._prepare(claims)
            except ModelUnavailableError as error:
                log.warning("model_unavailable", error=str(error), count=len(claims))
                self._finish([_failure(claim, ErrorCode.MODEL_UNAVAILABLE, str(error)) for claim in claims])
        return None

    def _prepare(self, claims: Sequence[Claim]) -> Batch | None:
        version = self._loader.ensure(claims[0].model_version_id)
        key = (version.model, version.number)
        started = time.perf_counter()
        payloads = self._fetch(claims)
        missing = [
            _failure(claim, ErrorCode.INPUT_MISSING, str(payload))
            for claim, payload in zip(claims, payloads, strict=True)
            if isinstance(payload, ObjectMissingError)
        ]
        if missing:
            self._finish(missing)
            gone = {outcome.claim.id for outcome in missing}
            claims = [claim for claim in claims if claim.id not in gone]
            payloads = [payload for payload in payloads if not isinstance(payload, ObjectMissingError)]
        decoded = self._engine.decode(key, payloads)
        return Batch(claims, key, decoded, (time.perf_counter() - started) * 1000)

    def _fetch(self, claims: Sequence[Claim]) -> list[Any]:
        if all(claim.input_sha256 is None for claim in claims):
            return [claim.input for claim in claims]
        return list(self._fetchers.map(self._fetch_one, claims))

    def _fetch_one(self, claim: Claim) -> Any:
        if claim.input_sha256 is None:
            return claim.input
        try:
            return self._objects.get(claim.input_sha256)
        except ObjectMissingError as error:
            return error

    def _compute(self, batch: Batch, completions: "list[Future[None]]") -> None:
        started = time.perf_counter()
        computed = self._engine.compute(batch.key, batch.decoded)
        compute_ms = (time.perf_counter() - started) * 1000
        outcomes = [
            _outcome(claim, each, batch.decode_ms, compute_ms)
            for claim, each in zip(batch.claims, computed, strict=True)
        ]
        completions.append(self._behind.submit(self._finish, outcomes))

    @contextmanager
    def _completing(self) -> "Iterator[list[Future[None]]]":
        """Collect the completions of a drain, and wait for the last so that no result outlives its task."""
        completions: list[Future[None]] = []
        yield completions
        for completion in completions:
            completion.result()

    def _finish(self, outcomes: Sequence[Outcome]) -> None:
        """Commit outcomes and tell who waits. While Postgres is away they wait here: the fence keeps a late one out."""
        while True:
            try:
                with self._results_database.connect() as connection:
                    finished = ledger.complete(connection, outcomes)
                break
            except DBAPIError as error:
                if not error.connection_invalidated and not _is_outage(error):
                    raise
                log.warning("completion_delayed", count=len(outcomes), error=str(error.orig))
                time.sleep(RETRY_S)
        if len(finished) < len(outcomes):
            log.info("results_fenced", count=len(outcomes) - len(finished))
        publish(self._replies, finished)

    def _give_back(self, batch: Batch) -> None:
        with self._claims_database.connect() as connection:
            ledger.release(connection, batch.claims, keep_attempt=True)


def _is_outage(error: DBAPIError) -> bool:
    # A refused connection or a server that is shutting down is an OperationalError; a wrong statement is not.
    return type(error).__name__ == "OperationalError"


def _failure(claim: Claim, code: ErrorCode, detail: str) -> Outcome:
    return Outcome(claim=claim, error_code=code, error_detail=detail)


def _outcome(claim: Claim, computed: Computed, decode_ms: float, compute_ms: float) -> Outcome:
    return Outcome(
        claim=claim,
        result=computed.result,
        error_code=None if computed.error_code is None else ErrorCode(computed.error_code),
        error_detail=computed.error_detail,
        decode_ms=round(decode_ms, 3),
        compute_ms=round(compute_ms, 3),
    )
