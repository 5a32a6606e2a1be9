"""`webapp.memo`: what is read once for many."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.running import PATIENCE_S, wait_until
from webapp.memo import Memo


class Source:
    """Counts its readings; each waits for `gate`, and fails while `error` is set."""

    def __init__(self) -> None:
        self.readings = 0
        self.gate = threading.Event()
        self.gate.set()
        self.error: Exception | None = None

    def read(self, key: str) -> str:
        """Read one entry."""
        self.readings += 1
        self.gate.wait(PATIENCE_S)
        if self.error is not None:
            raise self.error
        return key.upper()


class Clock:
    """Goes on when a test says so."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        """Tell the time."""
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def source() -> Source:
    return Source()


def test_an_entry_is_read_once(source: Source) -> None:
    memo = Memo(source.read, 60)

    assert [memo.get("a"), memo.get("a"), memo.get("b")] == ["A", "A", "B"]
    assert source.readings == 2


def test_an_old_entry_is_read_again(source: Source) -> None:
    memo = Memo(source.read, 0.0)

    assert [memo.get("a"), memo.get("a")] == ["A", "A"]
    assert source.readings == 2


def test_threads_that_miss_together_share_one_reading(source: Source) -> None:
    memo = Memo(source.read, 60)
    source.gate.clear()
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(memo.get, "a") for _ in range(8)]
        wait_until(lambda: source.readings == 1)
        source.gate.set()

    assert ({each.result() for each in asked}, source.readings) == ({"A"}, 1)


def test_a_failure_is_told_to_all_who_waited_and_not_remembered(source: Source) -> None:
    memo = Memo(source.read, 60)
    source.gate.clear()
    source.error = ValueError("away")
    with ThreadPoolExecutor(2) as pool:
        asked = [pool.submit(memo.get, "a") for _ in range(2)]
        wait_until(lambda: source.readings >= 1)
        source.gate.set()
    source.error, failures = None, [each.exception() for each in asked]

    assert [str(failure) for failure in failures] == ["away", "away"]
    assert memo.get("a") == "A"


def test_what_is_stale_is_read_again_and_the_rest_is_not(source: Source) -> None:
    memo = Memo(source.read, 60)
    memo.get("a")
    memo.get("b")

    memo.forget(lambda key: key == "a")
    memo.get("a")
    memo.get("b")

    assert source.readings == 3


def test_what_is_forgotten_while_it_is_read_is_read_again(source: Source) -> None:
    memo = Memo(source.read, 60)
    source.gate.clear()
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(memo.get, "a")
        wait_until(lambda: source.readings == 1)
        memo.forget(lambda key: key == "a")
        source.gate.set()
        asked.result()
    memo.get("a")

    assert source.readings == 2


def test_an_entry_that_is_asked_for_is_read_anew_before_it_is_old(source: Source, clock: Clock) -> None:
    threads = ThreadPoolExecutor(1)
    memo = Memo(source.read, 60, clock, threads)
    memo.get("a")
    clock.now_s += 31
    source.gate.clear()

    # Answered from memory, while one thread reads.
    assert [memo.get("a"), memo.get("a")] == ["A", "A"]
    wait_until(lambda: source.readings == 2)
    source.gate.set()
    threads.shutdown()
    clock.now_s += 31

    assert (memo.knows("a"), source.readings) == (True, 2)


def test_an_entry_that_nobody_asks_for_grows_old(source: Source, clock: Clock) -> None:
    memo = Memo(source.read, 60, clock)
    memo.get("a")
    clock.now_s += 61

    assert (memo.knows("a"), source.readings) == (False, 1)


def test_an_entry_that_cannot_be_read_anew_stays_until_its_time_is_over(source: Source, clock: Clock) -> None:
    threads = ThreadPoolExecutor(1)
    memo = Memo(source.read, 60, clock, threads)
    memo.get("a")
    clock.now_s += 31
    source.error = ValueError("away")

    assert memo.get("a") == "A"
    threads.shutdown()
    assert (memo.get("a"), source.readings) == ("A", 2)
    clock.now_s += 30
    with pytest.raises(ValueError, match="away"):
        memo.get("a")
