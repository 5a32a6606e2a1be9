"""`tasks.pace`: what a worker learns about itself, and what it leaves to faster ones."""

import pytest

from store.rates import UNBOUNDED, Rate
from tasks.pace import LARGE_CLAIM, LEAST_PATIENCE_S, Pace, Peer, RateBook, claim_rules, fair_share

VERSION = "model/1"
IDS = {VERSION: 7}
HELD = frozenset({VERSION})
NOTHING: frozenset[str] = frozenset()

FAST = Rate(fixed_s=0.0, item_s=0.01)
SLOW = Rate(fixed_s=0.0, item_s=0.1, load_s=2.0)


class SetClock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture
def book(clock: SetClock) -> RateBook:
    return RateBook(clock)


def test_a_version_that_ran_nothing_has_no_rate(book: RateBook) -> None:
    book.note_load(VERSION, 1.0, 64)

    assert book.rates() == {}


def test_batches_of_different_sizes_tell_what_an_item_adds(book: RateBook, clock: SetClock) -> None:
    for count in (1, 8, 3, 16, 5):
        _run(book, clock, count, 0.02 + 0.005 * count)

    rate = book.rates()[VERSION]
    assert [rate.fixed_s, rate.item_s] == pytest.approx([0.02, 0.005])


def test_batches_of_one_size_are_thought_to_take_longer_in_proportion(book: RateBook, clock: SetClock) -> None:
    for _ in range(5):
        _run(book, clock, 4, 0.2)

    rate = book.rates()[VERSION]
    assert [rate.fixed_s, rate.item_s] == pytest.approx([0.0, 0.05])


def test_a_device_that_becomes_slower_is_known_as_slower_after_a_few_batches(book: RateBook, clock: SetClock) -> None:
    for seconds in [0.01] * 50 + [0.1] * 30:
        clock.now += 0.2
        _run(book, clock, 1, seconds)

    assert book.rates()[VERSION].one_s > 0.09


def test_in_a_pipeline_a_batch_costs_what_it_adds(book: RateBook, clock: SetClock) -> None:
    clock.now = 100.5
    book.note_batch(VERSION, 1, 100.0)
    clock.now = 100.6
    book.note_batch(VERSION, 1, 100.0)

    assert book.rates()[VERSION].one_s == pytest.approx((0.5 * 0.905 + 0.1) / 1.905, rel=0.01)


def test_the_time_of_loading_and_the_largest_batch_are_told(book: RateBook, clock: SetClock) -> None:
    book.note_load(VERSION, 3.0, 8)
    _run(book, clock, 1, 0.01)

    rate = book.rates()[VERSION]
    assert (rate.load_s, rate.max_batch) == (3.0, 8)


def test_a_device_that_runs_all_the_time_is_fully_used(book: RateBook, clock: SetClock) -> None:
    for _ in range(1000):
        _run(book, clock, 1, 0.01)

    assert book.rates()[VERSION].used == pytest.approx(1.0, rel=0.02)


def test_a_device_that_rests_is_used_ever_less(book: RateBook, clock: SetClock) -> None:
    _run(book, clock, 1, 0.01)
    clock.now += 60.0

    rate = book.rates()[VERSION]
    assert rate.used < 0.01
    assert rate.age_s == pytest.approx(60.0)


def test_a_slow_device_leaves_rows_to_a_fast_one() -> None:
    [rule] = claim_rules(HELD, {VERSION: SLOW}, [Peer(HELD, {VERSION: FAST})], IDS)

    assert (rule.version, rule.skip, rule.most) == (7, 9, 1)
    assert rule.patience == SLOW.one_s


def test_a_fast_device_leaves_nothing() -> None:
    assert claim_rules(HELD, {VERSION: FAST}, [Peer(HELD, {VERSION: SLOW})], IDS) == []


def test_a_device_that_does_not_hold_a_version_counts_its_loading() -> None:
    own = {VERSION: Rate(fixed_s=0.0, item_s=0.01, load_s=2.001)}

    [rule] = claim_rules(NOTHING, own, [Peer(HELD, {VERSION: FAST})], IDS)

    assert rule.skip == 200


def test_a_version_that_nobody_holds_is_left_to_nobody() -> None:
    assert claim_rules(NOTHING, {}, [Peer(NOTHING, {VERSION: FAST})], IDS) == []


def test_a_device_that_never_ran_what_it_holds_is_tried() -> None:
    assert claim_rules(HELD, {}, [Peer(HELD, {VERSION: FAST})], IDS) == []


def test_a_row_is_waited_for_a_while_at_least() -> None:
    own, fast = Rate(fixed_s=0.0, item_s=0.003), Rate(fixed_s=0.0, item_s=0.0001)

    [rule] = claim_rules(HELD, {VERSION: own}, [Peer(HELD, {VERSION: fast})], IDS)

    assert rule.patience == LEAST_PATIENCE_S


def test_equals_take_few_rows_at_once() -> None:
    assert fair_share(HELD, {VERSION: FAST}, [Peer(HELD, {VERSION: FAST})]) == 1


def test_before_anything_was_measured_all_count_as_equals() -> None:
    assert fair_share(HELD, {}, [Peer(HELD, {})]) == 1


def test_a_device_without_equals_takes_all_there_is() -> None:
    assert fair_share(HELD, {VERSION: FAST}, [Peer(HELD, {VERSION: SLOW})]) == UNBOUNDED


def test_claims_grow_while_rows_wait_and_shrink_afterwards() -> None:
    pace = Pace()
    pace.follow([], 2)
    for _ in range(10):
        pace.note_claim(pace.limit, 1.0)
    grown = pace.limit
    for _ in range(10):
        pace.note_claim(1, 0.0)

    assert (grown, pace.limit) == (LARGE_CLAIM, 2)


def _run(book: RateBook, clock: SetClock, count: int, seconds: float) -> None:
    began_at = clock.now
    clock.now += seconds
    book.note_batch(VERSION, count, began_at)
