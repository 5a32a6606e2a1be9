"""Fetches the pictures that requests name by their URL, stores them, and rings for a worker.

A prediction with `image_url` is accepted like any other and waits until its picture is there. Everything here may die
at any moment: what was claimed is free again when the life of this process is ended, and a picture that was stored
twice is stored once.
"""

import random
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import redis
import structlog
from celery import Celery
from sqlalchemy import Engine as Database
from sqlalchemy.exc import SQLAlchemyError

from schemas.enums import ErrorCode
from schemas.messages import RunPredictions
from schemas.names import QueueName, TaskName
from schemas.pictures import PictureError, check_picture
from store.database import HeldConnection
from store.errors import HostUnavailableError, ObjectsUnavailableError, OutwardError
from store.failpoints import hit
from store.fetches import FetchClaim, claim_fetches, fail_fetch, forget_fetch, note_arrival, release_fetch
from store.objects import ObjectStore
from store.outward import TOTAL_TIMEOUT_S, OutwardClient
from store.replies import publish
from tasks.doorbell import Doorbell
from tasks.host_breaker import HostBreaker
from tasks.life import WorkerLife

log = structlog.get_logger()

#: Pictures fetched at the same time.
AT_ONCE = 16

REDIRECTS = 3

#: Claims of one picture before its prediction fails.
MAX_ATTEMPTS = 5

#: Before the second attempt; each further pause is twice as long, give or take a quarter.
BACKOFF_S = 1.0
JITTER = 0.25

#: A picture whose host has enough requests under way, or that could not be stored, is looked at again after so long.
PAUSE_S = 0.5

#: Without a doorbell it looks so often: a query of an index with few entries.
POLL_S = 1.0

#: What is under way at the end is waited for so long; the supervisor waits a little longer.
DRAIN_S = 5.0

#: Statuses of HTTP that may be others a moment later.
PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})

ACCEPT = ("Accept", "image/jpeg, image/png, image/webp")


class Fetcher:
    """Fetches what waits until it is stopped.

    Args:
        client: Asks strangers' servers.
        database: Durable: what it commits decides predictions.
        objects: Where pictures go.
        life: The lease under which claims are made.
        replies: Where predictions that fail are published.
        doorbell: Rung for the others.
        max_bytes: Of a picture.
        max_pixels: Of a picture, width times height.
    """

    def __init__(
        self,
        *,
        client: OutwardClient,
        database: Database,
        objects: ObjectStore,
        life: WorkerLife,
        replies: redis.Redis,
        doorbell: Doorbell,
        max_bytes: int,
        max_pixels: int,
    ) -> None:
        self._client = client
        self._database = database.execution_options(isolation_level="AUTOCOMMIT")
        self._transactions = database
        self._claims = HeldConnection(database)
        self._objects = objects
        self._life = life
        self._replies = replies
        self._doorbell = doorbell
        # A doorbell is for one thread at a time.
        self._ringing = threading.Lock()
        self._max_bytes = max_bytes
        self._max_pixels = max_pixels
        self._hosts = HostBreaker()
        self._free = threading.Semaphore(AT_ONCE)
        self._woken = threading.Event()
        self._stopping = threading.Event()
        self._threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="fetch")
        self._pump = threading.Thread(target=self._run, name="fetch-pump", daemon=True)

    def start(self) -> None:
        """Begin to fetch."""
        self._pump.start()

    def wake(self) -> None:
        """Something may wait: look now."""
        self._woken.set()

    def stop(self) -> None:
        """Claim no more."""
        self._stopping.set()
        self._woken.set()

    def close(self) -> None:
        """Finish what is under way, as far as it takes no longer than `DRAIN_S`, and end the threads."""
        self.stop()
        if self._pump.ident is not None:
            self._pump.join()
        until = time.monotonic() + DRAIN_S
        for _ in range(AT_ONCE):
            # What a slow host keeps is free for others as soon as our life is ended.
            self._free.acquire(timeout=max(0.0, until - time.monotonic()))
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._claims.close()
        self._client.close()

    def take(self) -> int:
        """Claim what waits, as much as there is room for, and begin to fetch it.

        Returns:
            How many were claimed.
        """
        room = 0
        while room < AT_ONCE and self._free.acquire(blocking=False):
            room += 1
        claims: Sequence[FetchClaim] = ()
        try:
            if room and self._life.is_valid() and not self._stopping.is_set():
                with self._claims.use() as connection:
                    claims = claim_fetches(
                        connection, worker_id=self._life.worker_id, limit=room, busy=self._hosts.busy()
                    )
        finally:
            if room > len(claims):
                self._free.release(room - len(claims))
        if claims:
            hit("fetcher.after_claim")
        for claim in claims:
            self._threads.submit(self._work, claim)
        return len(claims)

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._woken.wait(POLL_S)
            self._woken.clear()
            try:
                while self.take():
                    pass
            except SQLAlchemyError as error:
                # Postgres is away; the next look tries again.
                log.warning("fetch_claim_failed", error=str(error))
            except Exception:
                # The thread must outlive any fault, or pictures would be fetched by nobody.
                log.exception("fetch_fault")

    def _work(self, claim: FetchClaim) -> None:
        try:
            self._serve(claim)
        except SQLAlchemyError as error:
            # Postgres is away; the claim runs out and is made again.
            log.warning("fetch_not_recorded", prediction_id=str(claim.id), error=str(error))
        except Exception:
            # Whatever it was: the claim runs out and is made again, until its attempts are used up.
            log.exception("fetch_fault", prediction_id=str(claim.id))
        finally:
            self._free.release()
            self.wake()

    def _serve(self, claim: FetchClaim) -> None:
        if not claim.is_wanted:
            with self._database.connect() as connection:
                forget_fetch(connection, claim)
        elif claim.attempt > MAX_ATTEMPTS:
            self._fail(claim, ErrorCode.FETCH_FAILED, f"image_url could not be fetched in {MAX_ATTEMPTS} attempts")
        elif not self._hosts.enter(claim.host):
            self._release(claim, PAUSE_S, keep_attempt=True)
        else:
            try:
                self._fetch(claim)
            finally:
                self._hosts.leave(claim.host)

    def _fetch(self, claim: FetchClaim) -> None:
        try:
            data = self._ask(claim)
            check_picture(data, self._max_pixels)
            digest = self._objects.put(data)
        except HostUnavailableError as error:
            self._retry_or_fail(claim, str(error))
        except OutwardError as error:
            self._fail(claim, ErrorCode.FETCH_FAILED, f"image_url {error}")
        except PictureError as error:
            self._fail(claim, ErrorCode.INVALID_INPUT, f"image_url: what it leads to {error}")
        except ObjectsUnavailableError as error:
            log.warning("objects_unavailable", error=str(error))
            self._release(claim, PAUSE_S, keep_attempt=True)
        else:
            self._arrive(claim, digest, len(data))

    def _ask(self, claim: FetchClaim) -> bytes:
        """Return what the URL leads to.

        Raises:
            HostUnavailableError: Nothing yet; it may be there later.
            OutwardError: Nothing, and never.
        """
        if self._hosts.rests(claim.host):
            raise HostUnavailableError("leads to a host that does not answer now")
        hit("fetcher.fetching")
        timeout_s = TOTAL_TIMEOUT_S if claim.left_s is None else max(0.0, min(TOTAL_TIMEOUT_S, claim.left_s))
        try:
            reply = self._client.send(
                "GET",
                claim.url,
                headers=[ACCEPT],
                max_bytes=self._max_bytes,
                redirects=REDIRECTS,
                timeout_s=timeout_s,
            )
        except HostUnavailableError:
            self._hosts.note_failure(claim.host)
            raise
        self._hosts.note_answer(claim.host)
        if reply.status in PASSING:
            raise HostUnavailableError(f"answers {reply.status}")
        if reply.status != 200:
            raise OutwardError(f"answers {reply.status}")
        return reply.body

    def _arrive(self, claim: FetchClaim, digest: str, size: int) -> None:
        hit("fetcher.before_commit")
        with self._database.connect() as connection:
            version = note_arrival(connection, claim, sha256=digest, size=size)
        hit("fetcher.after_commit")
        if version is not None:
            message = RunPredictions(prediction_ids=[str(claim.id)], model=version[0], version=version[1])
            with self._ringing:
                self._doorbell.ring(QueueName.INFERENCE, message)

    def _retry_or_fail(self, claim: FetchClaim, reason: str) -> None:
        delay_s = BACKOFF_S * 2 ** (claim.attempt - 1) * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 - no secret
        if claim.attempt >= MAX_ATTEMPTS or (claim.left_s is not None and claim.left_s <= delay_s):
            self._fail(claim, ErrorCode.FETCH_FAILED, f"image_url {reason}; tried {claim.attempt} times")
        else:
            self._release(claim, delay_s, keep_attempt=False)

    def _fail(self, claim: FetchClaim, code: ErrorCode, detail: str) -> None:
        with self._transactions.begin() as connection:
            finished = fail_fetch(connection, claim, worker_id=self._life.worker_id, code=code, detail=detail)
        publish(self._replies, finished)

    def _release(self, claim: FetchClaim, delay_s: float, *, keep_attempt: bool) -> None:
        with self._database.connect() as connection:
            release_fetch(connection, claim, delay_s=delay_s, keep_attempt=keep_attempt)


def register(app: Celery, fetcher: Fetcher) -> None:
    """Register the task that a doorbell starts."""

    @app.task(name=TaskName.FETCH_INPUTS, shared=False)
    def fetch_inputs(*, prediction_ids: list[str]) -> None:  # noqa: ARG001 - for the reader
        """Look what waits. The ids are for the reader: pictures are claimed from Postgres."""
        fetcher.wake()
