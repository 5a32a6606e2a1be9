"""One worker of two is killed under load: how long answers stay away, and whether anything is lost."""

import threading
import time
from dataclasses import dataclass, field
from itertools import pairwise

import httpx

from benchmarks.backend import running_backend
from benchmarks.report import Figure, Unit, at_most
from tests.load import Crowd, asking

BACK_WITHIN_S = 1.0
CLIENTS = 16

#: The load runs so long before the kill, so that both workers are busy.
BEFORE_S = 3.0


@dataclass
class TimedCrowd(Crowd):
    """Clients that note when each answer came and how long it took, in seconds of the monotonic clock."""

    answered_at: list[float] = field(default_factory=list)
    slowest_s: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def send(self, client: httpx.Client, pair: tuple[int, int], prefer: str) -> None:
        """Ask once and note the times."""
        started = time.monotonic()
        super().send(client, pair, prefer)
        with self._lock:
            self.answered_at.append(time.monotonic())
            self.slowest_s = max(self.slowest_s, time.monotonic() - started)


def longest_pause_s(answered_at: list[float], since: float) -> float:
    """Return the longest time without any answer after a moment, seconds; infinite when none came at all."""
    after = sorted([since, *(moment for moment in answered_at if moment >= since)])
    return max((later - earlier for earlier, later in pairwise(after)), default=float("inf"))


def measure_kill(seconds: float) -> list[Figure]:
    """Kill one of two inference workers under load, by SIGKILL."""
    with running_backend("--workers=2") as stack:
        with asking(TimedCrowd(stack), clients=CLIENTS, pause_s=0.0) as people:
            time.sleep(BEFORE_S)
            killed_at = time.monotonic()
            stack.kill("cpu-0")
            time.sleep(seconds)
        lost = people.lost()
        pause = longest_pause_s(people.answered_at, killed_at)
        note = f"slowest answer {people.slowest_s:.2f} s"
        refused = len(people.refused)
    return [
        Figure(
            name="one of two workers killed: longest time without an answer",
            value=pause,
            unit=Unit.S,
            wanted=at_most(BACK_WITHIN_S),
            note=note,
        ),
        Figure(
            name="one of two workers killed: lost or wrong",
            value=len(lost),
            unit=Unit.COUNT,
            wanted=at_most(0),
            note=f"{len(people.accepted):,} accepted, the rest ended once and rightly; {refused} refused",
        ),
    ]
