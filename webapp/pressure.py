"""How much waits, as this process knows it without asking: a look every quarter of a second, and its own rows since.

No request waits for a look, and none asks Postgres. See docs/decisions/0011-admission.md.
"""

import random
import threading
import time
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

import structlog
from prometheus_client import Gauge
from sqlalchemy import Engine as Database
from sqlalchemy.exc import SQLAlchemyError

from store.queue_load import read_held_load, read_queue_load
from webapp.balancer import WorkerView
from webapp.forecast import (
    DELAYS_S,
    NO_WORK,
    NOTHING,
    RANKS,
    UNKNOWN_COST_S,
    Efficiency,
    Forecast,
    Place,
    add_work,
    lone_rows,
    make_forecast,
    row_costs,
    utilisation,
)

log = structlog.get_logger()

#: Between two looks. A look costs Postgres a microsecond for each row that waits; it rests twenty times as long, so
#: that a queue of a million rows is looked at less often. Not by how long it took: a machine that stalls once would
#: tell waits from an old look when it matters most.
REFRESH_S = 0.25
REST_FOR_ROW_S = 20e-6
LONGEST_REST_S = 10.0

#: Who had something waiting takes part in the turns for so long.
LATELY_S = 5.0

#: Where rows that came since the look go in the order of claims is kept in steps: seconds behind their acceptance.
STEPS_S = (0.1, 0.5, 1.0, 2.0, 5.0, 10.1, 10.5, 11.0, 12.0, 15.0, 20.0, 40.0, 100.0, 300.0, 600.1, 610.0, 900.0, 1500.0)

ESTIMATED_WAIT = Gauge(
    "torchqueue_estimated_wait_seconds",
    "What a request of a tenant that has nothing waiting would wait for its turn.",
    ["model", "version", "priority"],
    multiprocess_mode="mostrecent",
)


class Changes:
    """What this process knows to have changed since a look. Used from any thread.

    Args:
        costs: Work of one row by version.
    """

    def __init__(self, costs: Mapping[str, float]) -> None:
        self._costs = costs
        self._lock = threading.Lock()
        self.rows = 0
        self.key_rows: dict[int, int] = {}
        self.key_work: dict[int, list[float]] = {}
        self._done_s = 0.0
        self._added = [0.0] * (len(STEPS_S) + 1)

    def enter(self, place: Place, delay_s: float) -> None:
        """A row was committed whose turn is so many seconds behind its acceptance."""
        cost_s = self._costs.get(place.version, UNKNOWN_COST_S)
        with self._lock:
            self._note(place, 1, cost_s)
            self._added[bisect_left(STEPS_S, delay_s)] += cost_s

    def leave(self, place: Place) -> None:
        """A row is known to be terminal."""
        cost_s = self._costs.get(place.version, UNKNOWN_COST_S)
        with self._lock:
            self._note(place, -1, -cost_s)
            self._done_s += cost_s

    def tenants(self) -> set[int]:
        """Return those that sent or were answered something."""
        with self._lock:
            return set(self.key_rows)

    def before_s(self, delay_s: float) -> float:
        """Return the work that was added before a place, less what was done."""
        return sum(self._added[: bisect_left(STEPS_S, delay_s) + 1]) - self._done_s

    def _note(self, place: Place, rows: int, work_s: float) -> None:
        self.rows += rows
        if place.api_key_id is not None:
            self.key_rows[place.api_key_id] = self.key_rows.get(place.api_key_id, 0) + rows
            add_work(self.key_work, place.api_key_id, place.rank, work_s)


class RecentTenants:
    """Who had something waiting lately, at a look or between two."""

    def __init__(self) -> None:
        self._seen_at: dict[int, float] = {}

    def note(self, present: Iterable[int], now: float) -> Collection[int]:
        """Return those that are present, or were so within `LATELY_S`."""
        self._seen_at.update(dict.fromkeys(present, now))
        self._seen_at = {tenant: at for tenant, at in self._seen_at.items() if now - at < LATELY_S}
        return self._seen_at


class Pressure:
    """Tells how many rows wait, and how long a request would, out of the memory of this process.

    Args:
        database: Where rows wait.
        workers: Tells who lives, and what they measured.
        processes: Web processes of the whole stack: what came to this one since the last look, came to each.
    """

    def __init__(self, database: Database, workers: Callable[[], Sequence[WorkerView]], *, processes: int = 1) -> None:
        self._database = database
        self._workers = workers
        self._processes = processes
        self._efficiency = Efficiency()
        self._rng = random.Random()  # noqa: S311 - nothing secret
        self._recent = RecentTenants()
        # Replaced as one, so that no reader adds changes to a look that they are part of.
        self._seen: tuple[Forecast, Changes, float] = (NOTHING, Changes({}), time.monotonic())
        self._next = self._seen[1]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pressure", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()

    def enter(self, place: Place, delay_s: float) -> None:
        """A row of this process was committed."""
        changes, following = self._seen[1], self._next
        changes.enter(place, delay_s)
        if following is not changes:
            following.enter(place, delay_s)

    def leave(self, place: Place) -> None:
        """A row of this process is known to be terminal."""
        changes, following = self._seen[1], self._next
        changes.leave(place)
        if following is not changes:
            following.leave(place)

    def rows(self) -> int:
        """Return how many rows wait."""
        forecast, changes, _ = self._seen
        return forecast.rows + self._processes * changes.rows

    def key_rows(self, api_key_id: int) -> int:
        """Return how many rows of a tenant wait."""
        forecast, changes, _ = self._seen
        return forecast.key_rows.get(api_key_id, 0) + changes.key_rows.get(api_key_id, 0)

    def lag_s(self, place: Place) -> float:
        """Return by how much a tenant's next row goes behind its time, see `Forecast.lag_s`."""
        forecast, changes, _ = self._seen
        if place.api_key_id is None:
            return 0.0
        change = changes.key_work.get(place.api_key_id, NO_WORK)[place.rank]
        return forecast.lag_s(place, self._processes * change)

    def wait_s(self, place: Place) -> float | None:
        """Estimate how long a request would wait for its turn; None where nobody measured its version yet."""
        return self._wait_s(place.version, DELAYS_S[place.rank] + self.lag_s(place))

    def rest_s(self, version: str, delay_s: float) -> float | None:
        """Estimate when a row will be finished whose turn is at this place, seconds from now in the order of claims."""
        wait_s = self._wait_s(version, delay_s)
        return None if wait_s is None else wait_s + self.one_s(version)

    def work_s(self, version: str, rows: int) -> float:
        """Return how long the stack works on so many rows of a version."""
        forecast = self._seen[0]
        return rows * forecast.costs.get(version, UNKNOWN_COST_S) / forecast.efficiency

    def one_s(self, version: str) -> float:
        """Return what a lone row takes on the fastest worker that holds its version; 0.0 where nobody measured it."""
        return self._seen[0].ones.get(version, 0.0)

    def look(self) -> None:
        """Read what waits, once.

        Raises:
            SQLAlchemyError: Postgres is away.
        """
        workers = self._workers()
        costs = row_costs(workers)
        # What is committed from here on may or may not be part of the look; twice is on the safe side.
        self._next = Changes(costs)
        started = time.monotonic()
        with self._database.connect() as connection:
            waiting, held = read_queue_load(connection), read_held_load(connection)
        present = {each.api_key_id for each in waiting if each.api_key_id is not None} | self._seen[1].tenants()
        lately = self._recent.note(present, started)
        forecast = make_forecast(waiting, held, costs, lone_rows(workers), self._efficiency.value, lately)
        self._efficiency.observe(utilisation(workers, costs), forecast.profile.total, started)
        self._seen = (forecast, self._next, started)
        self._show()

    def _wait_s(self, version: str, delay_s: float) -> float | None:
        forecast, changes, seen_at = self._seen
        if version not in forecast.costs:
            return None
        place = delay_s + time.monotonic() - seen_at
        work_s = forecast.held_s + forecast.profile.before(place) + self._processes * changes.before_s(delay_s)
        return max(0.0, work_s) / forecast.efficiency

    def _run(self) -> None:
        rest_s = 0.0
        while not self._stop.wait(rest_s):
            try:
                self.look()
            except SQLAlchemyError as error:
                # Postgres is away, or has more to read than its time limit allows; the last look stays.
                log.warning("queue_unread", error=str(error))
            except Exception:  # The thread must outlive any fault, or waits would be told from an old look for ever.
                log.exception("pressure_fault")
            # Not in step with other processes.
            wanted_s = max(REFRESH_S, REST_FOR_ROW_S * self._seen[0].rows)
            rest_s = min(wanted_s, LONGEST_REST_S) * self._rng.uniform(0.9, 1.1)

    def _show(self) -> None:
        for version in self._seen[0].costs:
            model, _, number = version.rpartition("/")
            for priority, rank in RANKS.items():
                wait_s = self._wait_s(version, DELAYS_S[rank])
                ESTIMATED_WAIT.labels(model, number, str(priority)).set(wait_s or 0.0)
