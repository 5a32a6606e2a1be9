"""One listener thread a process: hears what workers finished and wakes the requests that wait for it.

Notifications may be lost, so rows that are waited for are also read now and then, all in one query.
"""

import json
import threading
import time
from collections.abc import Callable, Sequence
from uuid import UUID

import redis
import structlog
from sqlalchemy import Engine as Database
from sqlalchemy.exc import SQLAlchemyError

from schemas.messages import PredictionFinished
from schemas.names import FINISHED_CHANNEL, FORGOTTEN_CHANNEL, IDLE_CHANNEL, KEYS_CHANNEL
from store import ledger

log = structlog.get_logger()

#: Time between two looks at the rows that are waited for, while Valkey answers and while it does not.
HEALTHY_POLL_S = 1.0
UNHEALTHY_POLL_S = 0.1

Finish = Callable[[PredictionFinished | None], None]


class ReplyListener:
    """Settles waiting requests.

    Args:
        client: For subscribing; its own connection is used.
        database: For rows whose notification was lost.
        channel: This process's own.
        on_finished: Told the predictions that this process accepted and that are terminal now.
        on_idle: Told the queues whose worker found nothing left.
        on_forgotten: Told the pairs of tenant and model version whose answers may not be remembered any more.
        on_keys: Told the public ids of API keys that were changed, rotated or revoked.
    """

    def __init__(
        self,
        client: redis.Redis,
        database: Database,
        channel: str,
        *,
        on_finished: Callable[[Sequence[PredictionFinished]], None],
        on_idle: Callable[[Sequence[str]], None],
        on_forgotten: Callable[[Sequence[tuple[int, int]]], None],
        on_keys: Callable[[Sequence[str]], None] = lambda _: None,
    ) -> None:
        # Kept, because a client that is collected closes the connections of its pool, ours too.
        self._client = client
        self._pubsub = client.pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call]
        self._database = database
        self._channel = channel
        self._on_finished = on_finished
        self._on_idle = on_idle
        self._on_forgotten = on_forgotten
        self._on_keys = on_keys
        self._waiting: dict[str, list[Finish]] = {}
        self._lock = threading.Lock()
        self._healthy = False
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._listen, name="replies", daemon=True)
        self._poller = threading.Thread(target=self._poll, name="replies-poll", daemon=True)

    def start(self) -> None:
        """Begin to listen."""
        self._thread.start()
        self._poller.start()

    def stop(self) -> None:
        """End both threads."""
        self._stopping.set()
        self._thread.join()
        self._poller.join()
        self._pubsub.close()

    def expect(self, prediction_id: UUID, finish: Finish) -> None:
        """Call `finish` when the prediction is terminal, or with None when this process ends before.

        Register before it can be terminal.
        """
        with self._lock:
            self._waiting.setdefault(str(prediction_id), []).append(finish)

    def forget(self, prediction_id: UUID, finish: Finish) -> None:
        """Expect it no longer."""
        with self._lock:
            remaining = [other for other in self._waiting.pop(str(prediction_id), []) if other != finish]
            if remaining:
                self._waiting[str(prediction_id)] = remaining

    def cut_waits(self) -> None:
        """Let all who wait answer with what is known now: this process ends."""
        with self._lock:
            waiting = [finish for finishes in list(self._waiting.values()) for finish in finishes]
        for finish in waiting:
            finish(None)

    def _listen(self) -> None:
        while not self._stopping.is_set():
            try:
                self._hear()
            except redis.RedisError as error:
                if self._healthy:
                    log.warning("replies_unheard", error=str(error))
                self._rest()
            except Exception:  # The thread must outlive any fault, or every later answer would be slow.
                log.exception("replies_fault")
                self._rest()

    def _rest(self) -> None:
        """Subscribe again after a while; the poller reads the rows meanwhile."""
        self._healthy = False
        self._stopping.wait(UNHEALTHY_POLL_S)

    def _hear(self) -> None:
        if not self._healthy:
            self._pubsub.subscribe(self._channel, FINISHED_CHANNEL, IDLE_CHANNEL, FORGOTTEN_CHANNEL, KEYS_CHANNEL)
            self._healthy = True
        message = self._pubsub.get_message(timeout=UNHEALTHY_POLL_S)
        if message is None:
            return
        channel, data = message["channel"].decode(), message["data"]
        if channel == self._channel:
            self._settle(PredictionFinished.load_many(data))
        elif channel == IDLE_CHANNEL:
            self._on_idle(json.loads(data))
        elif channel == FORGOTTEN_CHANNEL:
            self._on_forgotten([(tenant, version) for tenant, version in json.loads(data)])
        elif channel == KEYS_CHANNEL:
            self._on_keys(json.loads(data))
        else:
            self._look_at(json.loads(data))

    def _settle(self, events: Sequence[PredictionFinished]) -> None:
        self._on_finished(events)
        for event in events:
            for finish in self._waiting.pop(event.id, []):
                finish(event)

    def _look_at(self, ids: Sequence[str]) -> None:
        """Read rows that another process accepted and that somebody waits for here."""
        wanted = [UUID(name) for name in ids if name in self._waiting]
        if wanted:
            self._read(wanted)

    def _poll(self) -> None:
        looked_at = time.monotonic()
        while not self._stopping.wait(UNHEALTHY_POLL_S):
            due_s = HEALTHY_POLL_S if self._healthy else UNHEALTHY_POLL_S
            if self._waiting and time.monotonic() - looked_at >= due_s:
                looked_at = time.monotonic()
                # A copy, made in one step: the listener's thread takes entries away without the lock.
                self._read([UUID(name) for name in list(self._waiting)])

    def _read(self, ids: Sequence[UUID]) -> None:
        try:
            with self._database.connect() as connection:
                finished = ledger.finished_among(connection, ids)
        except SQLAlchemyError as error:
            # Postgres is away; whoever waits is told by the next look, or runs into its own time limit.
            log.warning("rows_unread", count=len(ids), error=str(error))
            return
        self._settle([entry.event for entry in finished])
