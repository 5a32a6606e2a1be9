"""What was read from Postgres, remembered for seconds, and read by one thread where many miss it at once."""

import math
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar

import structlog
from cachetools import TTLCache

log = structlog.get_logger()

Key = TypeVar("Key")
Value = TypeVar("Value")

ENTRIES = 4_096

#: An entry that is asked for after this share of its time is read anew, beside the requests.
REFRESH_AFTER = 0.5


@dataclass(slots=True)
class _Entry(Generic[Value]):
    """What is remembered, and the monotonic time in seconds from which it is read anew."""

    value: Value
    due_at: float


class Memo(Generic[Key, Value]):
    """A memory of what `read` returns; what it raises is not remembered.

    When an entry grows old under load, every request thread misses it in the same moment. If each read it anew, they
    would queue for the few connections, and some would be told that the database is busy. One that goes on being asked
    for is read anew by a thread of the memory's own before it is old, so that no request waits for that.

    Args:
        read: Reads one entry.
        ttl_s: How long it is remembered, in seconds.
        clock: Monotonic, in seconds.
        threads: What reads entries anew; by default one of its own.
    """

    def __init__(
        self,
        read: Callable[[Key], Value],
        ttl_s: float,
        clock: Callable[[], float] = time.monotonic,
        threads: ThreadPoolExecutor | None = None,
    ) -> None:
        self._read = read
        self._clock = clock
        self._refresh_after_s = ttl_s * REFRESH_AFTER
        self._known: TTLCache[Key, _Entry[Value]] = TTLCache(ENTRIES, ttl_s, clock)
        self._reading: dict[Key, Future[Value]] = {}
        self._lock = threading.Lock()
        self._threads = threads or ThreadPoolExecutor(1, thread_name_prefix="refresh")
        self._forgotten = 0

    def knows(self, key: Key) -> bool:
        """Whether `get` would return at once."""
        with self._lock:
            return key in self._known

    def forget(self, is_stale: Callable[[Key], bool]) -> None:
        """Remember no longer the entries whose key says so."""
        with self._lock:
            self._forgotten += 1
            for key in [key for key in self._known if is_stale(key)]:
                self._known.pop(key, None)

    def get(self, key: Key) -> Value:
        """Return what is remembered, or what this or another thread reads now.

        Raises:
            Exception: Whatever `read` raises, in every thread that waited for it.
        """
        with self._lock:
            known = self._known.get(key)
            if known is not None:
                self._refresh_in_time(key, known)
                return known.value
            reading = self._reading.get(key)
            if reading is None:
                mine = self._reading[key] = Future[Value]()
        return self._read_for_all(key, mine) if reading is None else reading.result()

    def _refresh_in_time(self, key: Key, known: _Entry[Value]) -> None:
        if self._clock() >= known.due_at:
            # Once: this entry is not asked for again, and the next one has a time of its own.
            known.due_at = math.inf
            self._threads.submit(self._refresh, key)

    def _refresh(self, key: Key) -> None:
        forgotten = self._forgotten
        try:
            value = self._read(key)
        # Whatever it is: when the entry's time is over, whoever asks is told.
        except Exception as error:  # noqa: BLE001
            log.debug("not_refreshed", error=str(error))
            return
        self._remember(key, value, forgotten)

    def _remember(self, key: Key, value: Value, forgotten: int) -> None:
        """Remember what was read, unless anything was forgotten since its reading began: it may be stale."""
        with self._lock:
            if self._forgotten == forgotten:
                self._known[key] = _Entry(value, self._clock() + self._refresh_after_s)

    def _read_for_all(self, key: Key, future: "Future[Value]") -> Value:
        forgotten = self._forgotten
        try:
            value = self._read(key)
        except BaseException as error:
            # Also when this thread is told to end: those who wait for what it reads would wait for ever.
            self._end(key)
            future.set_exception(error)
            raise
        self._remember(key, value, forgotten)
        self._end(key)
        future.set_result(value)
        return value

    def _end(self, key: Key) -> None:
        with self._lock:
            del self._reading[key]
