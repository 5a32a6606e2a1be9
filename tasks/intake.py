"""The way of rows to the device: claim a batch of one version, fetch its inputs, decode them."""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import redis
import structlog
from sqlalchemy import Engine as Database
from sqlalchemy.exc import DBAPIError

from ml.engine import Engine, Key
from ml.errors import NotReachedError
from schemas.enums import ErrorCode
from store import ledger
from store.database import HeldConnection, is_outage
from store.errors import ObjectMissingError, ObjectsUnavailableError
from store.failpoints import hit
from store.ledger_rows import Claim, Outcome
from store.models import ServedVersion
from store.objects import ObjectStore
from store.replies import publish
from tasks.errors import ModelUnavailableError
from tasks.life import WorkerLife
from tasks.loader import ModelLoader
from tasks.pace import Pace
from tasks.progress import Progress

log = structlog.get_logger()

#: Rows in one claim, where the version's own `max_batch` is not less.
CLAIM_LIMIT = 256

#: A row that met a passing fault rests for so long before its next attempt.
TRANSIENT_DELAY_S = 5.0

# Pictures are fetched side by side: one read of a remote store costs more than decoding.
FETCH_THREADS = 8

# While every row that waits is of a model on its way to the device, others are looked for so often.
LOOK_WHILE_LOADING_S = 0.05

MS = 1000.0


@dataclass(frozen=True, slots=True)
class Batch:
    """Claims of one model version, decoded and ready for the device."""

    claims: Sequence[Claim]
    key: tuple[str, int]
    kind: str
    decoded: list[Any]
    decode_ms: float
    taken_at: float
    """Of `time.monotonic`: when it was claimed, or when its version was loaded where that was later."""

    def late(self) -> list[Claim]:
        """The claims whose deadline is over."""
        passed_s = time.monotonic() - self.taken_at
        return [claim for claim in self.claims if claim.left_s is not None and claim.left_s <= passed_s]

    def without(self, dropped: Sequence[Claim]) -> "Batch":
        """The batch without some of its claims."""
        gone = {claim.id for claim in dropped}
        kept = [pair for pair in zip(self.claims, self.decoded, strict=True) if pair[0].id not in gone]
        return replace(self, claims=[claim for claim, _ in kept], decoded=[decoded for _, decoded in kept])


class Intake:
    """Prepares batches. Used by one thread at a time.

    Args:
        engine: Decodes.
        loader: Brings a version onto the device when a row asks for it.
        life: The lease under which claims are made.
        database: Made `for_claims`: a claim that a crash undoes is a row that is still queued.
        objects: Where stored inputs are.
        replies: Where predictions that cannot be tried again are published.
        device: Written into the rows.
        fail: Stores outcomes of rows that never reach the device.
        may_claim: Whether more can be taken up than is in hand.
        progress: Told what this does.
        pace: Tells which rows are left to faster devices.
    """

    def __init__(
        self,
        *,
        engine: Engine,
        loader: ModelLoader,
        life: WorkerLife,
        database: Database,
        objects: ObjectStore,
        replies: redis.Redis,
        device: str,
        fail: Callable[[Sequence[Outcome]], None],
        may_claim: Callable[[], bool],
        progress: Progress,
        pace: Pace,
    ) -> None:
        self._engine = engine
        self._loader = loader
        self._life = life
        self._connection = HeldConnection(database)
        self._objects = objects
        self._replies = replies
        self._device = device
        self._fail = fail
        self._may_claim = may_claim
        self._progress = progress
        self._pace = pace
        self._stopping = threading.Event()
        self._fetchers = ThreadPoolExecutor(FETCH_THREADS, thread_name_prefix="fetch")

    def take(self, *, probe: bool = False) -> Batch | None:
        """Claim and decode the next batch, whose model is pinned until `let_go`.

        Args:
            probe: Take one row, also where faster devices would finish it sooner.

        Returns:
            None when nothing waits for us, our lease is in doubt, what we finished cannot be stored, or we stop.
        """
        self._progress.note_look()
        while self._life.is_valid() and self._may_claim() and not self._stopping.is_set():
            taken_at = time.monotonic()
            # Rows of a model on its way are left alone, so that it stalls no other.
            loading = self._loader.loading()
            claims = self._claim([*loading, *self._loader.left_to_others], probe=probe)
            if claims:
                hit("worker.after_claim")
                batch = self._prepare_or_release(claims, taken_at)
                if batch is not None:
                    return batch
            elif loading:
                self._loader.wait(LOOK_WHILE_LOADING_S)
            else:
                return None
        return None

    def stop(self) -> None:
        """Claim no more."""
        self._stopping.set()

    def close(self) -> None:
        """Give the connection back."""
        self._fetchers.shutdown()
        self._connection.close()

    def let_go(self, batch: Batch) -> None:
        """Let the batch's model leave the device when others need its room."""
        self._loader.unpin(batch.key)

    def _claim(self, skip: Sequence[int], *, probe: bool) -> list[Claim]:
        worker_id = self._life.worker_id
        try:
            with self._connection.use() as connection:
                claims = ledger.claim(
                    connection,
                    worker_id=worker_id,
                    device=self._device,
                    limit=1 if probe else min(CLAIM_LIMIT, self._pace.limit),
                    skip=skip,
                    rules=() if probe else self._pace.rules,
                )
        except DBAPIError as error:
            if is_outage(error):
                # Perhaps we hold rows that we were not told of; a new life gives back all that the old one holds.
                self._life.doubt()
            raise
        self._progress.note_look()
        if worker_id != self._life.worker_id:
            # A new life began meanwhile: what the old one claimed would be taken from it as from a dead process.
            self.give_back(claims)
            return []
        self._pace.note_claim(len(claims), claims[0].waited_s if claims else 0.0)
        return claims

    def give_back(self, claims: Sequence[Claim]) -> None:
        """Return claims untouched: none of their attempts is used up."""
        with self._connection.use() as connection:
            ledger.release(connection, claims, keep_attempt=True)

    def expire(self, claims: Sequence[Claim]) -> None:
        """Let rows whose deadline is over end as expired; the device never sees them.

        A row leaves a worker's hands unfinished in one way alone, back to the queue; from there it expires.
        """
        with self._connection.use() as connection:
            ledger.release(connection, claims, keep_attempt=True)
            expired = ledger.expire(connection)
        log.info("claims_expired", count=len(claims))
        publish(self._replies, expired)

    def put_off(self, claims: Sequence[Claim]) -> None:
        """Let rows wait until a fault has passed; it uses up one of their attempts."""
        with self._connection.use() as connection:
            released = ledger.release(connection, claims, delay_s=TRANSIENT_DELAY_S, keep_attempt=False)
        publish(self._replies, released.finished)

    def _prepare_or_release(self, claims: Sequence[Claim], taken_at: float) -> Batch | None:
        try:
            version = self._loader.pin(claims[0].model_version_id)
            if version is not None:
                with self._progress.at_work("prepare", ledger.ATTEMPT_BUDGET_S):
                    return self._prepare(version, claims, taken_at)
            # Not there yet. None of the rows was to blame, and another worker may have the model.
            self.give_back(claims)
        except ModelUnavailableError as error:
            log.warning("model_unavailable", error=str(error), count=len(claims))
            self._fail([_failure(claim, ErrorCode.MODEL_UNAVAILABLE, str(error)) for claim in claims])
        except ObjectsUnavailableError as error:
            log.warning("objects_unavailable", error=str(error), count=len(claims))
            self.put_off(claims)
        except MemoryError:
            # None of the rows was to blame: the process ends, and gives all back that it holds.
            raise
        except Exception:
            # Whatever it was: rows that are held by nobody's hand would hang until their budget is over.
            self.put_off(claims)
            raise
        return None

    def _prepare(self, version: ServedVersion, claims: Sequence[Claim], taken_at: float) -> Batch:
        key = (version.model, version.number)
        try:
            return self._decode(version, key, claims, taken_at)
        except Exception:
            # Whatever it was: a model that stays pinned by no batch could never leave the device.
            self._loader.unpin(key)
            raise

    def _decode(self, version: ServedVersion, key: Key, claims: Sequence[Claim], taken_at: float) -> Batch:
        started = time.perf_counter()
        hit("worker.fetching")
        payloads = self._fetch(claims)
        missing = [
            _failure(claim, ErrorCode.INPUT_MISSING, str(payload))
            for claim, payload in zip(claims, payloads, strict=True)
            if isinstance(payload, ObjectMissingError)
        ]
        if missing:
            self._fail(missing)
            gone = {outcome.claim.id for outcome in missing}
            claims = [claim for claim in claims if claim.id not in gone]
            payloads = [payload for payload in payloads if not isinstance(payload, ObjectMissingError)]
        hit("worker.decoding")
        decoded = self._engine.decode(key, payloads)
        decode_ms = (time.perf_counter() - started) * MS
        return self._keep_reached(Batch(claims, key, version.kind, list(decoded), decode_ms, taken_at))

    def _keep_reached(self, batch: Batch) -> Batch:
        """Give back what was not begun; there is time for it in another claim."""
        pairs = zip(batch.claims, batch.decoded, strict=True)
        unreached = [claim for claim, decoded in pairs if isinstance(decoded, NotReachedError)]
        if not unreached:
            return batch
        log.warning("claims_not_reached", count=len(unreached), of=len(batch.claims))
        self.give_back(unreached)
        return batch.without(unreached)

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


def _failure(claim: Claim, code: ErrorCode, detail: str) -> Outcome:
    return Outcome(claim=claim, error_code=code, error_detail=detail)
