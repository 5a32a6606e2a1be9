"""What was read from Postgres, remembered for seconds, and read by one thread where many miss it at once."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

from cachetools import TTLCache

Key = TypeVar("Key")
Value = TypeVar("Value")

ENTRIES = 4_096


class Memo(Generic[Key, Value]):
    """A memory of what `read` returns; what it raises is not remembered.

    When an entry grows old under load, every request thread misses it in the same moment. If each read it anew, they
    would queue for the few connections, and some would be told that the database is busy.

    Args:
        read: Reads one entry.
        ttl_s: How long it is remembered, in seconds.
    """

    def __init__(self, read: Callable[[Key], Value], ttl_s: float) -> None:
        self._read = read
        self._known: TTLCache[Key, Value] = TTLCache(ENTRIES, ttl_s)
        self._reading: dict[Key, Future[Value]] = {}
        self._lock = threading.Lock()

    def knows(self, key: Key) -> bool:
        """Whether `get` would return at once."""
        with self._lock:
            return key in self._known

    def forget(self, is_stale: Callable[[Key], bool]) -> None:
        """Remember no longer the entries whose key says so."""
        with self._lock:
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
                return known
            reading = self._reading.get(key)
            if reading is None:
                mine = self._reading[key] = Future[Value]()
        return self._read_for_all(key, mine) if reading is None else reading.result()

    def _read_for_all(self, key: Key, future: "Future[Value]") -> Value:
        try:
            value = self._read(key)
        except BaseException as error:
            # Also when this thread is told to end: those who wait for what it reads would wait for ever.
            self._end(key)
            future.set_exception(error)
            raise
        with self._lock:
            self._known[key] = value
        self._end(key)
        future.set_result(value)
        return value

    def _end(self, key: Key) -> None:
        with self._lock:
            del self._reading[key]
