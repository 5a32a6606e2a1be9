"""What a key may ask of this process: so many requests a minute, and so many at once. All of it in memory.

The limits are the key's for the whole stack; each web process allows its part. A client that keeps to one connection
meets one process alone, so the parts of a limit are rounded up, and a limit below the number of processes is that many.
"""

import math
import threading
import time
from dataclasses import dataclass

from store.keys import KeyLimits, Principal
from webapp.errors import RateLimitedError, TooManyRequestsError

MINUTE_S = 60.0


@dataclass(slots=True)
class _Meter:
    """What one key has left here.

    Attributes:
        limits: By which it counts; new ones begin anew.
        tokens: Requests that may come at once.
        filled_at: When the tokens were counted.
        running: Requests that are being answered.
    """

    limits: KeyLimits
    tokens: float
    filled_at: float
    running: int = 0


class KeyMeters:
    """The meters of all keys that have limits.

    Args:
        processes: Web processes that share the limits.
    """

    def __init__(self, processes: int = 1) -> None:
        self._processes = processes
        self._meters: dict[int, _Meter] = {}
        self._lock = threading.Lock()

    def enter(self, caller: Principal) -> None:
        """Count a request in; one that was let in must `leave`.

        Raises:
            RateLimitedError: The key sent too many in the last minute.
            TooManyRequestsError: Too many of the key's are being answered.
        """
        if caller.limits is None:
            return
        with self._lock:
            meter = self._meter(caller.api_key_id, caller.limits)
            most = caller.limits.max_concurrent
            if most is not None and meter.running >= self._part(most):
                raise TooManyRequestsError(
                    f"this key may have {most} requests answered at once; wait for one to end", limit=most
                )
            if caller.limits.rate_per_minute is not None:
                self._take_token(meter, caller.limits.rate_per_minute)
            meter.running += 1

    def leave(self, caller: Principal) -> None:
        """A request that was let in is answered."""
        if caller.limits is None:
            return
        with self._lock:
            meter = self._meters.get(caller.api_key_id)
            if meter is not None:
                meter.running = max(0, meter.running - 1)

    def _meter(self, api_key_id: int, limits: KeyLimits) -> _Meter:
        meter = self._meters.get(api_key_id)
        if meter is None or meter.limits != limits:
            running = 0 if meter is None else meter.running
            meter = _Meter(limits, self._burst(limits), time.monotonic(), running)
            self._meters[api_key_id] = meter
        return meter

    def _take_token(self, meter: _Meter, per_minute: int) -> None:
        now = time.monotonic()
        per_second = per_minute / self._processes / MINUTE_S
        meter.tokens = min(self._burst(meter.limits), meter.tokens + (now - meter.filled_at) * per_second)
        meter.filled_at = now
        if meter.tokens < 1.0:
            raise RateLimitedError(
                f"this key may send {per_minute} requests a minute; wait until one more is allowed",
                retry_after_s=(1.0 - meter.tokens) / per_second,
                limit=per_minute,
            )
        meter.tokens -= 1.0

    def _burst(self, limits: KeyLimits) -> float:
        """Tokens at most: what the key says, or the requests of a minute."""
        return float(self._part(limits.burst or limits.rate_per_minute or 1))

    def _part(self, most: int) -> int:
        return max(1, math.ceil(most / self._processes))
