"""How long a request would wait: from what waits, and what workers measured. No clock, no I/O.

Work is counted in seconds of the whole stack: a row of a version of which all workers together do 500 a second is 2 ms.
"""

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import NamedTuple

from schemas.enums import Priority
from store.ledger_rows import MOST_LAG_S, PRIORITY_DELAY_S
from store.queue_load import Waiting
from webapp.balancer import WorkerView

#: What a row is thought to cost where nobody measured its version yet; it only orders tenants among themselves.
UNKNOWN_COST_S = 0.001

#: Rows that were all submitted at one time are spread over this, so that no division is by zero.
LEAST_SPAN_S = 0.001

#: Work that waits makes a stack count as saturated from here on: what it then does in a second is all that it can do.
SATURATED_S = 0.5

#: Rates of workers are averages over seconds, told every other second: a saturation is believed after this.
SETTLED_S = 6.0

#: How fast the ratio between what workers do and what they should be able to do is learned, and forgotten, seconds.
LEARN_S = 10.0
FORGET_S = 30.0

#: Where batches take longer than rates are averaged over, a look may catch a worker between two of them.
LEAST_EFFICIENCY, MOST_EFFICIENCY = 0.2, 2.0


#: Priorities by urgency, as small numbers: a member of an enumeration is looked up ten times as slowly.
RANKS = {priority: rank for rank, priority in enumerate(sorted(Priority, key=PRIORITY_DELAY_S.__getitem__))}

#: How long a younger row of rank 0 may overtake one of each rank, seconds.
DELAYS_S = tuple(sorted(PRIORITY_DELAY_S.values()))

NO_WORK: Sequence[float] = (0.0,) * len(RANKS)


class Place(NamedTuple):
    """Where a row waits.

    Attributes:
        api_key_id: The tenant; None for rows that answer nobody.
        rank: Of its priority.
        version: As `model/number`.
    """

    api_key_id: int | None
    rank: int
    version: str


class Profile:
    """How much work goes before a place in the order of claims: a line with a bend at each group's first and last row.

    Args:
        spans: Of groups whose rows lie evenly between two places: the first, the last, and their work, all in seconds.
    """

    def __init__(self, spans: Iterable[tuple[float, float, float]]) -> None:
        bends: defaultdict[float, float] = defaultdict(float)
        for first, last, work in spans:
            end = max(last, first + LEAST_SPAN_S)
            bends[first] += work / (end - first)
            bends[end] -= work / (end - first)
        self._places = sorted(bends)
        self._before: list[float] = []
        self._slopes: list[float] = []
        before = slope = 0.0
        previous = self._places[0] if self._places else 0.0
        for place in self._places:
            before += slope * (place - previous)
            slope += bends[place]
            self._before.append(before)
            self._slopes.append(slope)
            previous = place

    @property
    def total(self) -> float:
        """All of the work, seconds."""
        return self._before[-1] if self._before else 0.0

    def before(self, place: float) -> float:
        """Return the work before a place, seconds."""
        index = bisect_right(self._places, place) - 1
        return self._before[index] + self._slopes[index] * (place - self._places[index]) if index >= 0 else 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Forecast:
    """What one look at the queue and the workers says.

    Attributes:
        costs: Work of one row by version; versions that nobody measured are missing.
        ones: What a lone row of a version takes on the fastest worker, seconds.
        efficiency: Work that the stack does in a second; below 1 where workers get in each other's way.
        rows: All that wait.
        key_rows: Those of each tenant.
        key_work: Work of each tenant by rank: what is as urgent, or more.
        profile: Work by place in the order of claims.
        tenants: Those that have something waiting, or had so lately.
        held_s: Work that workers have claimed and not finished; it goes before all that waits.
    """

    costs: Mapping[str, float]
    ones: Mapping[str, float]
    efficiency: float
    rows: int
    key_rows: Mapping[int, int]
    key_work: Mapping[int, Sequence[float]]
    profile: Profile
    tenants: AbstractSet[int] = frozenset()
    held_s: float = 0.0

    def lag_s(self, place: Place, change: float = 0.0) -> float:
        """Return by how much a row goes behind its time, so that tenants take turns.

        It is the time at which the tenants would have come to it, had each in turn one of its rows answered: the work
        of this tenant that is as urgent, times the number of tenants. Who has nothing that waits goes before all that
        others sent too much of. See docs/decisions/0011-admission.md.

        Args:
            place: Of the row.
            change: Work that the tenant added since the look, less what of it was done.
        """
        if place.api_key_id is None:
            return 0.0
        own = self.key_work.get(place.api_key_id, NO_WORK)[place.rank] + change
        if own <= 0.0:
            return 0.0
        tenants = len(self.tenants) + (place.api_key_id not in self.tenants)
        return min(own * tenants, MOST_LAG_S)


#: Before the first look: nothing waits, and nothing is known of any cost.
NOTHING = Forecast(costs={}, ones={}, efficiency=1.0, rows=0, key_rows={}, key_work={}, profile=Profile(()))


def make_forecast(
    waiting: Sequence[Waiting],
    held: Mapping[str, int],
    costs: Mapping[str, float],
    ones: Mapping[str, float],
    efficiency: float,
    lately: Iterable[int] = (),
) -> Forecast:
    """Sum up what waits, and how many rows workers hold of each version.

    Args:
        waiting: What waits.
        held: Rows by version.
        costs: Of a row, by version.
        ones: Of a lone row, by version.
        efficiency: See `Efficiency`.
        lately: Tenants that had something waiting a moment ago. Whose rows are answered at once is seen by few looks;
            were the number of tenants another at each look, rows of the others would be put amidst their own.
    """
    key_rows: Counter[int] = Counter()
    key_work: dict[int, list[float]] = {}
    for group in waiting:
        if group.api_key_id is not None:
            key_rows[group.api_key_id] += group.rows
            work_s = group.rows * costs.get(group.version, UNKNOWN_COST_S)
            add_work(key_work, group.api_key_id, RANKS[group.priority], work_s)
    return Forecast(
        costs=costs,
        ones=ones,
        efficiency=efficiency,
        rows=sum(group.rows for group in waiting),
        key_rows=dict(key_rows),
        tenants=key_rows.keys() | lately,
        key_work=key_work,
        profile=Profile((each.first_s, each.last_s, each.rows * costs.get(each.version, 0.0)) for each in waiting),
        held_s=sum(rows * costs.get(version, 0.0) for version, rows in held.items()),
    )


def add_work(key_work: dict[int, list[float]], api_key_id: int, rank: int, work_s: float) -> None:
    """Count work of a tenant for the rank of it and for all that are less urgent."""
    work = key_work.get(api_key_id)
    if work is None:
        work = key_work[api_key_id] = list(NO_WORK)
    for each in range(rank, len(work)):
        work[each] += work_s


def row_costs(workers: Collection[WorkerView]) -> dict[str, float]:
    """Return the work of one row of each version that any live worker measured, in batches as a backlog makes them."""
    per_second: defaultdict[str, float] = defaultdict(float)
    for worker in workers:
        for version, rate in worker.rates.items():
            # One that does not hold it would load it first; those that do will be there before.
            if version in worker.held:
                per_second[version] += rate.backlog_per_second
    return {version: 1.0 / rate for version, rate in per_second.items()}


def lone_rows(workers: Collection[WorkerView]) -> dict[str, float]:
    """Return what a lone row of each version takes on the worker that is fastest at it, seconds."""
    found: dict[str, float] = {}
    for worker in workers:
        for version, rate in worker.rates.items():
            found[version] = min(rate.one_s, found.get(version, rate.one_s))
    return found


def utilisation(workers: Collection[WorkerView], costs: Mapping[str, float]) -> float:
    """Return the work that workers lately did in a second."""
    return sum(
        rate.used * rate.per_second * costs.get(version, 0.0)
        for worker in workers
        for version, rate in worker.rates.items()
    )


class Efficiency:
    """Learns how much work the stack does in a second while it has more than enough to do.

    What workers measured of themselves says what each could do alone; where they share processors, or batches stay
    small, they do less together. What they did while rows waited all the time is all that they can do.
    """

    def __init__(self) -> None:
        self.value = 1.0
        self._saturated_since: float | None = None
        self._seen_at: float | None = None

    def observe(self, used: float, waiting_s: float, now: float) -> None:
        """Learn from one look.

        Args:
            used: Work done in a second, as `utilisation` tells.
            waiting_s: Work that waits.
            now: The clock.
        """
        passed_s = 0.0 if self._seen_at is None else now - self._seen_at
        self._seen_at = now
        if waiting_s < SATURATED_S:
            self._saturated_since = None
            self.value += (1.0 - self.value) * min(1.0, passed_s / FORGET_S)
            return
        if self._saturated_since is None:
            self._saturated_since = now
        if now - self._saturated_since >= SETTLED_S:
            wanted = min(max(used, LEAST_EFFICIENCY), MOST_EFFICIENCY)
            self.value += (wanted - self.value) * min(1.0, passed_s / LEARN_S)
