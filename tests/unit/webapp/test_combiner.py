"""`webapp.combiner`: who works for whom."""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.running import PATIENCE_S, wait_until
from webapp.combiner import Combiner


class Groups:
    """Notes the groups that it gets, and by which thread; holds the first back while `gate` is closed."""

    def __init__(self) -> None:
        self.seen: list[list[int]] = []
        self.threads: list[str] = []
        self.gate = threading.Event()
        self.gate.set()

    def work(self, group: Sequence[int]) -> None:
        """Take one group."""
        self.threads.append(threading.current_thread().name)
        self.seen.append(list(group))
        self.gate.wait(PATIENCE_S)


@pytest.fixture
def groups() -> Groups:
    return Groups()


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as pool:
        yield pool


Start = Callable[..., Combiner[int]]


@pytest.fixture
def start(groups: Groups) -> Start:
    """Start a combiner whose own thread is called `own`."""

    def start_combiner(limit: int = 10, tick_s: float | None = None) -> Combiner[int]:
        combiner = Combiner[int]("own", groups.work, limit=limit, tick_s=tick_s)
        combiner.start()
        return combiner

    return start_combiner


def test_a_lone_caller_does_its_own_work(start: Start, groups: Groups) -> None:
    start().submit([1])

    assert (groups.seen, groups.threads) == ([[1]], [threading.current_thread().name])


def test_what_comes_meanwhile_is_one_group_of_the_own_thread(
    start: Start, groups: Groups, pool: ThreadPoolExecutor
) -> None:
    combiner = start()
    groups.gate.clear()
    first = pool.submit(combiner.submit, [1])
    wait_until(lambda: groups.seen == [[1]])

    for entry in (2, 3):
        combiner.submit([entry])
    groups.gate.set()
    first.result(PATIENCE_S)

    wait_until(lambda: groups.seen == [[1], [2, 3]])
    assert groups.threads[1] == "own"


def test_a_group_has_a_limit(start: Start, groups: Groups) -> None:
    start(limit=2).submit([1, 2, 3])

    wait_until(lambda: groups.seen == [[1, 2], [3]])


def test_no_entry_is_left_alone_or_done_twice(start: Start, groups: Groups, pool: ThreadPoolExecutor) -> None:
    combiner = start()

    list(pool.map(lambda entry: combiner.submit([entry]), range(2_000)))

    wait_until(lambda: sum(map(len, groups.seen)) == 2_000)
    assert sorted(entry for group in groups.seen for entry in group) == list(range(2_000))


def test_no_two_groups_are_worked_on_at_once(pool: ThreadPoolExecutor) -> None:
    at_work, most = [0], [0]

    def work(_group: Sequence[int]) -> None:
        at_work[0] += 1
        most[0] = max(most[0], at_work[0])
        at_work[0] -= 1

    combiner = Combiner[int]("own", work, limit=4)
    combiner.start()
    list(pool.map(lambda entry: combiner.submit([entry]), range(500)))

    assert most == [1]


def test_a_wake_works_without_entries(start: Start, groups: Groups) -> None:
    start().wake()

    wait_until(lambda: groups.seen == [[]])


def test_a_tick_works_without_entries(start: Start, groups: Groups) -> None:
    start(tick_s=0.01)

    wait_until(lambda: len(groups.seen) >= 2)
    assert groups.seen[:2] == [[], []]
