"""Leaves hosts alone that do not answer, so that one of them keeps nobody who waits for another."""

import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Collection
from dataclasses import dataclass

#: Failures in a row after which a host rests.
FAILURES_TO_BREAK = 5
REST_S = 10.0

#: Requests to one host at the same time.
AT_ONCE = 4

#: Hosts that are remembered; the one that failed longest ago is forgotten first.
HOSTS = 10_000


@dataclass(slots=True)
class _Record:
    failures: int = 0
    rests_until: float = 0.0


class HostBreaker:
    """Counts what is under way and what failed, by host. Thread safe.

    Args:
        clock: Seconds; `time.monotonic` but for tests.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._under_way: Counter[str] = Counter()
        self._records: OrderedDict[str, _Record] = OrderedDict()

    def busy(self) -> Collection[str]:
        """List the hosts that have as many requests under way as they may."""
        with self._lock:
            return [host for host, count in self._under_way.items() if count >= AT_ONCE]

    def enter(self, host: str) -> bool:
        """Count a request, whose end `leave` must tell. False: too many are under way, and none was counted."""
        with self._lock:
            if self._under_way[host] >= AT_ONCE:
                return False
            self._under_way[host] += 1
            return True

    def leave(self, host: str) -> None:
        """A request is over."""
        with self._lock:
            self._under_way[host] -= 1
            if not self._under_way[host]:
                del self._under_way[host]

    def rests(self, host: str) -> bool:
        """Whether the host failed so often that it is not asked now."""
        with self._lock:
            record = self._records.get(host)
            return record is not None and self._clock() < record.rests_until

    def note_failure(self, host: str) -> None:
        """It did not answer."""
        with self._lock:
            record = self._records.setdefault(host, _Record())
            self._records.move_to_end(host)
            record.failures += 1
            if record.failures >= FAILURES_TO_BREAK:
                record.rests_until = self._clock() + REST_S
            while len(self._records) > HOSTS:
                self._records.popitem(last=False)

    def note_answer(self, host: str) -> None:
        """It answered, whatever it said."""
        with self._lock:
            self._records.pop(host, None)
