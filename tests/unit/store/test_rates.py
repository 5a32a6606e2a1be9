"""`store.rates`: what follows from measurements for sharing work."""

import pytest

from store.rates import UNBOUNDED, Rate, rows_left_to

EVEN = Rate(fixed_s=0.0, item_s=0.01)


def test_a_batch_costs_its_fixed_part_and_its_items() -> None:
    assert Rate(fixed_s=1.0, item_s=0.5).batch_s(4) == 3.0


def test_a_rate_survives_the_workers_row() -> None:
    rate = Rate(fixed_s=0.002, item_s=0.0005, max_batch=8, load_s=1.5, used=0.25, age_s=3.0)

    assert Rate.load(rate.dump()) == rate


def test_where_items_cost_as_much_as_batches_few_are_taken_at_once() -> None:
    assert EVEN.few == 1


def test_where_items_cost_hardly_anything_many_are_taken_at_once() -> None:
    assert Rate(fixed_s=0.004, item_s=0.00001).few > 64
    assert Rate(fixed_s=0.004, item_s=0.0).few == UNBOUNDED


def test_no_more_are_taken_at_once_than_a_batch_holds() -> None:
    small = Rate(fixed_s=0.08, item_s=0.0, max_batch=8)

    assert small.few == 8
    assert small.per_second == small.backlog_per_second == pytest.approx(100.0)


def test_a_backlog_is_answered_in_full_batches() -> None:
    assert Rate(fixed_s=0.5, item_s=1.0, max_batch=8).backlog_per_second == pytest.approx(8 / 8.5)
    assert Rate(fixed_s=64.0, item_s=0.0).backlog_per_second == pytest.approx(1.0)


def test_a_worker_of_an_earlier_release_does_not_tell_its_largest_batch() -> None:
    told = EVEN.dump()
    del told["max_batch"]

    assert Rate.load(told) == EVEN


def test_a_device_that_is_fully_used_has_nothing_to_spare() -> None:
    assert Rate(fixed_s=0.0, item_s=0.01, used=1.2).spare_per_second == 0.0


def test_a_slow_device_leaves_what_a_fast_one_does_in_the_time_that_it_would_lose() -> None:
    assert rows_left_to([(0.01, 100.0)], own_s=0.1) == 9


def test_a_device_leaves_nothing_to_one_that_is_about_as_fast() -> None:
    assert rows_left_to([(0.01, 100.0)], own_s=0.014) == 0


def test_nothing_is_left_to_a_device_that_is_fully_used() -> None:
    assert rows_left_to([(0.01, 0.0)], own_s=0.1) == 0
