"""The balancer that learns: it rings who would finish first; failing and silent workers are rung by probe only."""

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from typing import ClassVar

from schemas.enums import BalancerPolicy
from store.rates import SIMILAR, UNKNOWN_LOAD_S, Rate, rows_left_to
from webapp.balancer import (
    TAKEN_AT_ONCE,
    Balancer,
    RandomBalancer,
    Ring,
    RoundRobinBalancer,
    WorkerView,
)

#: One of so many workers that are equally good is drawn, so that processes that do not know of each other spread out.
DRAWN_FROM = 16

#: A worker that was rung and finished nothing of ours came too late: it rests for this, twice as long each time.
REST_S = 0.02
LONGEST_REST_S = 1.0

#: A worker that fails or is silent is tried again after this, twice as long each further time.
PROBE_S = 0.5
LONGEST_PROBE_S = 8.0

#: Failures in a row, each of a group of rows, after which a worker counts as failing.
FAILURES = 3

#: What a slower worker measured is doubted after this, times how much slower it is.
DOUBT_S = 10.0
LONGEST_DOUBT = 8.0

#: After a look that doubted nobody, the next is no sooner than this: with a thousand workers it costs something.
DOUBT_EVERY_S = 0.25

#: Rows that may be spent on such doubts, in all; and probes that may be saved up.
DOUBTING_SHARE = 0.01
SAVED_PROBES = 2.0

#: A row that waited as long as it takes on a slower worker, and for this long, is worth waking it, whoever is awake.
LEAST_OVERDUE_S = 0.05


@dataclass(slots=True)
class _Suspension:
    """A worker that is not rung but by probe.

    Attributes:
        failing: True: its rows fail, and only a success ends it. False: it is silent, and any word ends it.
        pause_s: Between two probes.
        probe_at: When the next is due.
    """

    failing: bool
    pause_s: float
    probe_at: float


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A worker as it would serve one version. Seconds, and rows a second.

    Attributes:
        one_s: What a lone row would take, loading included.
        spare: What it could do beyond what it does.
        few: How many rows it takes at once while others may take the rest.
        age_s: How old the measurement is.
    """

    queue: str
    one_s: float
    spare: float
    few: int
    age_s: float


class LearnedBalancer(Balancer):
    """Rings whoever would finish first, from what workers measured and from what was heard of them."""

    paced: ClassVar[bool] = True

    def __init__(self, rng: random.Random) -> None:
        super().__init__(rng)
        self._orders: dict[str, list[_Candidate]] = {}
        self._seen_at = 0.0
        self._suspended: dict[str, _Suspension] = {}
        self._failures: dict[str, int] = {}
        self._useful: set[str] = set()
        self._rests: dict[str, tuple[float, float]] = {}
        self._probed_at: dict[str, float] = {}
        self._probes = SAVED_PROBES
        self._doubt_at = 0.0

    def _choose(self, version: str, waiting: int, waited_s: float, now: float) -> Sequence[Ring]:
        order = self._order(version)
        spare = self._probe_suspended(now)
        usable = [each for each in order if each.queue not in self._suspended] if self._suspended else order
        if not usable:
            # Nobody else is there: the row waits for whoever recovers first.
            return spare or [Ring(self._best_suspended(order))]
        rings = []
        doubted = self._doubted(usable, now)
        if doubted is not None:
            rings.append(Ring(doubted, 1, probe=True))
            waiting -= 1
        woken = self._worth_waking(usable, waiting, waited_s, now)
        # Others may still count on those that are suspended, and would leave the rows to them.
        anyway = bool(self._suspended)
        rings += [Ring(each.queue, min(each.few, TAKEN_AT_ONCE), probe=anyway) for each in woken]
        self._probes = min(SAVED_PROBES, self._probes + DOUBTING_SHARE)
        # Last, so that the rows are in the hands of those that can be relied upon.
        return rings + spare

    def _worth_waking(
        self, usable: list[_Candidate], waiting: int, waited_s: float, now: float
    ) -> Iterator[_Candidate]:
        """Go through the workers, the fastest first, until those that are awake would be there before the next."""
        awake: list[tuple[float, float]] = []
        asleep: list[_Candidate] = []
        for each in usable:
            if each.queue in self._rung_at:
                awake.append((each.one_s, each.spare))
            elif not self._rung_at or self._rests.get(each.queue, (0.0, 0.0))[1] <= now:
                asleep.append(each)
                if len(asleep) >= DRAWN_FROM + waiting:
                    break
        while asleep and waiting > 0:
            chosen = self._draw(asleep)
            overdue = waited_s > max(LEAST_OVERDUE_S, chosen.one_s)
            if waiting <= rows_left_to(awake, chosen.one_s) and not overdue:
                return
            yield chosen
            asleep.remove(chosen)
            awake.append((chosen.one_s, chosen.spare))
            waiting -= chosen.few

    def _draw(self, asleep: list[_Candidate]) -> _Candidate:
        """Draw one of those that are as good as the best."""
        bound_s = asleep[0].one_s * SIMILAR
        equals = [each for each in asleep[:DRAWN_FROM] if each.one_s <= bound_s]
        return self._rng.choice(equals)

    def _doubted(self, usable: list[_Candidate], now: float) -> str | None:
        """Find a slow worker whose measurement is old: it may have recovered, and only a row can tell."""
        if self._probes < 1.0 or now < self._doubt_at:
            return None
        best_s = usable[0].one_s
        for each in reversed(usable):
            slower = each.one_s / max(best_s, 1e-9)
            if slower <= SIMILAR:
                break
            due_s = DOUBT_S * min(slower, LONGEST_DOUBT)
            known_for_s = min(each.age_s + now - self._seen_at, now - self._probed_at.get(each.queue, -math.inf))
            if each.queue not in self._rung_at and known_for_s >= due_s:
                self._probes -= 1.0
                self._probed_at[each.queue] = now
                return each.queue
        self._doubt_at = now + DOUBT_EVERY_S
        return None

    def _probe_suspended(self, now: float) -> list[Ring]:
        due = [queue for queue, each in self._suspended.items() if each.probe_at <= now and queue not in self._rung_at]
        for queue in due[:1]:
            suspension = self._suspended[queue]
            suspension.pause_s = min(2 * suspension.pause_s, LONGEST_PROBE_S)
            suspension.probe_at = now + suspension.pause_s
        return [Ring(queue, 1, probe=True) for queue in due[:1]]

    def _best_suspended(self, order: list[_Candidate]) -> str:
        asleep = [each.queue for each in order if each.queue not in self._rung_at]
        return min(asleep, key=lambda queue: (self._suspended[queue].failing, self._suspended[queue].pause_s))

    def _order(self, version: str) -> list[_Candidate]:
        """Order the workers by what a lone row of this version would take; kept until they are read again."""
        order = self._orders.get(version)
        if order is None:
            order = self._orders[version] = _order(version, list(self._workers.values()))
        return order

    def _keep_known(self, now: float) -> None:
        super()._keep_known(now)
        self._orders.clear()
        self._seen_at = now
        for known in (self._suspended, self._failures, self._rests, self._probed_at):
            for queue in known.keys() - self._workers.keys():
                del known[queue]
        self._useful &= self._workers.keys()

    def _note_idle(self, queue: str, now: float, *, was_rung: bool) -> None:
        self._recover(queue, succeeded=False)
        if queue in self._useful:
            self._useful.remove(queue)
            self._rests.pop(queue, None)
        elif was_rung:
            rest_s = min(2 * self._rests[queue][0], LONGEST_REST_S) if queue in self._rests else REST_S
            self._rests[queue] = (rest_s, now + rest_s)

    def _note_finished(self, queue: str, now: float, *, failed: bool) -> None:
        self._useful.add(queue)
        if not failed:
            self._failures.pop(queue, None)
            self._recover(queue, succeeded=True)
            return
        self._failures[queue] = self._failures.get(queue, 0) + 1
        if self._failures[queue] >= FAILURES:
            self._suspend(queue, now, failing=True)

    def _note_silent(self, queue: str, now: float) -> None:
        self._suspend(queue, now, failing=False)

    def _suspend(self, queue: str, now: float, *, failing: bool) -> None:
        known = self._suspended.get(queue)
        if known is None:
            self._suspended[queue] = _Suspension(failing, PROBE_S, now + PROBE_S)
        else:
            known.failing |= failing

    def _recover(self, queue: str, *, succeeded: bool) -> None:
        known = self._suspended.get(queue)
        if known is not None and (succeeded or not known.failing):
            del self._suspended[queue]


def _order(version: str, workers: Sequence[WorkerView]) -> list[_Candidate]:
    known = [worker.rates[version] for worker in workers if version in worker.rates]
    # One that never ran this version is thought to be as good as any: it will be tried, and measured.
    unknown = min(known, key=lambda rate: rate.one_s) if known else Rate(fixed_s=0.0, item_s=0.0)
    load_s = median(rate.load_s for rate in known) if known else UNKNOWN_LOAD_S
    candidates = []
    for worker in workers:
        rate = worker.rates.get(version, unknown)
        one_s = rate.one_s if version in worker.held else rate.one_s + load_s
        candidates.append(_Candidate(worker.queue, one_s, rate.spare_per_second, rate.few, rate.age_s))
    return sorted(candidates, key=lambda each: (each.one_s, each.queue))


BALANCERS: dict[BalancerPolicy, type[Balancer]] = {
    BalancerPolicy.LEARNED: LearnedBalancer,
    BalancerPolicy.ROUND_ROBIN: RoundRobinBalancer,
    BalancerPolicy.RANDOM: RandomBalancer,
}


def create_balancer(policy: BalancerPolicy, rng: random.Random) -> Balancer:
    """Make the balancer of this process."""
    return BALANCERS[policy](rng)
