"""What this worker learns about its own speed, and which rows it leaves to faster devices because of that."""

import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from store.ledger_rows import ClaimRule
from store.rates import SIMILAR, UNBOUNDED, UNKNOWN_LOAD_S, Rate, Rates, rows_left_to

#: Measurements are remembered for so long, and for ten batches at least.
MEMORY_S = 1.0
LEAST_BATCHES = 10

#: Claims do not grow beyond this.
LARGE_CLAIM = 256

#: The time over which it is counted how much a device does.
FLOW_S = 2.0

#: A row that waited as long as it takes here, and for this long, is claimed whoever is thought to be faster: that one
#: may be gone.
LEAST_PATIENCE_S = 0.05

#: Variance of the batch size below which nothing can be said about what an item adds.
LEAST_VARIANCE = 0.05


class Regression:
    """Time against batch size, as a line through recent batches.

    While all batches are of one size, the line goes through the origin: larger ones are thought to take as much longer,
    until one was seen.
    """

    def __init__(self) -> None:
        self._weight = self._n = self._t = self._nn = self._nt = self._flow = 0.0
        self.noted_at = -math.inf

    def note(self, count: int, seconds: float, now: float) -> None:
        """Learn from a batch."""
        self._flow = self.per_second(now) + count / FLOW_S
        keep = math.exp(-min(now - self.noted_at, MEMORY_S / LEAST_BATCHES) / MEMORY_S)
        self.noted_at = now
        self._weight = keep * self._weight + 1.0
        self._n = keep * self._n + count
        self._t = keep * self._t + seconds
        self._nn = keep * self._nn + count * count
        self._nt = keep * self._nt + count * seconds

    def per_second(self, now: float) -> float:
        """Return how many items a second were done lately."""
        return self._flow * math.exp(-(now - self.noted_at) / FLOW_S)

    def line(self) -> tuple[float, float]:
        """Return what a batch costs and what each item adds, in seconds, neither below zero."""
        mean_n, mean_t = self._n / self._weight, self._t / self._weight
        variance = self._nn / self._weight - mean_n**2
        slope = mean_t / mean_n
        if variance > LEAST_VARIANCE:
            slope = min(max((self._nt / self._weight - mean_n * mean_t) / variance, 0.0), slope)
        return mean_t - slope * mean_n, slope


class RateBook:
    """Measures the versions on this device. Used by the threads of the pipeline and by the heartbeat.

    Args:
        clock: Seconds that only rise.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lines: dict[str, Regression] = {}
        self._loads: dict[str, tuple[float, int]] = {}
        self._ended_at = -math.inf
        self._lock = threading.Lock()

    def note_batch(self, version: str, count: int, began_at: float) -> None:
        """A batch that was taken at `began_at`, by the clock, is committed now."""
        now = self._clock()
        with self._lock:
            # In a pipeline a batch is taken before the one ahead of it has ended; it cost only what it added.
            seconds = now - max(began_at, self._ended_at)
            self._ended_at = now
            self._lines.setdefault(version, Regression()).note(count, seconds, now)

    def note_load(self, version: str, seconds: float, max_batch: int) -> None:
        """A version was brought onto the device, which answers so many of its items together at most."""
        with self._lock:
            self._loads[version] = seconds, max_batch

    def rates(self) -> dict[str, Rate]:
        """Return what was learned so far; versions that ran nothing yet are missing."""
        now = self._clock()
        with self._lock:
            return {version: self._rate(version, line, now) for version, line in self._lines.items()}

    def _rate(self, version: str, line: Regression, now: float) -> Rate:
        fixed_s, item_s = line.line()
        load_s, max_batch = self._loads.get(version, (UNKNOWN_LOAD_S, UNBOUNDED))
        age_s = now - line.noted_at
        rate = Rate(fixed_s=fixed_s, item_s=item_s, max_batch=max_batch, load_s=load_s, age_s=age_s)
        return replace(rate, used=line.per_second(now) / rate.per_second)


class Pace:
    """How fast this device is, and what follows from it for its claims.

    Args:
        paced: Whether it leaves rows to faster devices at all.
        clock: Seconds that only rise.
    """

    def __init__(self, *, paced: bool = False, clock: Callable[[], float] = time.monotonic) -> None:
        self.book = RateBook(clock)
        self.paced = paced
        #: Replaced as a whole by the heartbeat's thread, read by the claiming one.
        self.rules: Sequence[ClaimRule] = ()
        self._share = UNBOUNDED
        self._limit = 0
        self._lone_s = 0.0

    def follow(self, rules: Sequence[ClaimRule], share: int) -> None:
        """Claim by these from now on; see `claim_rules` and `fair_share`."""
        self.rules, self._share = rules, share
        self._lone_s = max((rate.one_s for rate in self.book.rates().values()), default=0.0)

    @property
    def limit(self) -> int:
        """Most rows of the next claim: a fair share where equals may be asleep, more while the queue fills it."""
        return max(self._limit, self._share)

    def note_claim(self, count: int, waited_s: float) -> None:
        """A claim brought so many rows, the first of which had waited for so long.

        Where rows have to wait though all take few, larger batches are worth more than equal shares: the next may be
        twice as large, until batches are as large as the load asks for.
        """
        if count >= self.limit and waited_s > self._lone_s:
            self._limit = min(2 * self.limit, LARGE_CLAIM)
        else:
            self._limit //= 2


@dataclass(frozen=True, slots=True)
class Peer:
    """Another live worker: what it holds, and what it measured."""

    held: frozenset[str]
    rates: Rates


def claim_rules(held: frozenset[str], own: Rates, peers: Sequence[Peer], ids: Mapping[str, int]) -> list[ClaimRule]:
    """Decide which rows this device leaves to those that would finish them sooner.

    Args:
        held: Versions on this device.
        own: What it measured.
        peers: The other live workers.
        ids: Of the versions that any worker holds, by `model/number`.

    Returns:
        One rule for each version in which a peer is clearly faster, loading included; none for equals.
    """
    found = [(version, _rule(version, version_id, held, own, peers)) for version, version_id in ids.items()]
    return [rule for _, rule in found if rule is not None]


def fair_share(held: frozenset[str], own: Rates, peers: Sequence[Peer]) -> int:
    """Return how many rows this device takes at first where others are as fast: the rest may start there at once.

    Returns:
        Rows; beyond any batch where nobody is as fast, or where a batch takes hardly longer than a lone row.
    """
    shared = [version for version in held if any(_is_equal(version, own, peer) for peer in peers)]
    return min((own[version].few if version in own else 1 for version in shared), default=UNBOUNDED)


def _is_equal(version: str, own: Rates, peer: Peer) -> bool:
    """Tell whether a peer might as well take rows of a version: it does until both were measured."""
    if version not in peer.held or version not in own or version not in peer.rates:
        return version in peer.held
    return peer.rates[version].one_s <= own[version].one_s * SIMILAR


def _rule(version: str, version_id: int, held: frozenset[str], own: Rates, peers: Sequence[Peer]) -> ClaimRule | None:
    holding = [peer.rates[version] for peer in peers if version in peer.held and version in peer.rates]
    if not holding or (version in held and version not in own):
        return None
    # A version that never ran here is thought to run as it does elsewhere, after it was loaded.
    mine = own.get(version) or max(holding, key=lambda rate: rate.one_s)
    own_s = mine.one_s + (0.0 if version in held else mine.load_s)
    skip = rows_left_to([(rate.one_s, rate.spare_per_second) for rate in holding], own_s)
    if skip == 0:
        return None
    patience_s = max(LEAST_PATIENCE_S, own_s)
    return ClaimRule(version=version_id, skip=skip, patience=patience_s, most=mine.few)
