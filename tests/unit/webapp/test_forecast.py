"""`webapp.forecast`: work, turns and what a stack does in a second."""

import pytest

from schemas.enums import Priority
from store.ledger_rows import MOST_LAG_S
from store.queue_load import Waiting
from store.rates import Rate
from webapp.balancer import WorkerView
from webapp.forecast import (
    RANKS,
    SETTLED_S,
    UNKNOWN_COST_S,
    Efficiency,
    Forecast,
    Place,
    Profile,
    make_forecast,
    row_costs,
    utilisation,
)

XOR = "xor/1"
NOISY, QUIET = 1, 2

#: 64 rows in a second.
SLOW = Rate(fixed_s=0.0, item_s=1 / 64)


def waiting(
    rows: int, tenant: int | None = NOISY, priority: Priority = Priority.NORMAL, last_s: float = 10.0
) -> Waiting:
    return Waiting(version=XOR, priority=priority, api_key_id=tenant, rows=rows, first_s=0.0, last_s=last_s)


def forecast(*groups: Waiting, cost_s: float = 0.01) -> Forecast:
    return make_forecast(groups, {}, {XOR: cost_s}, {XOR: 0.02}, 1.0)


def place(tenant: int | None = NOISY, priority: Priority = Priority.NORMAL) -> Place:
    return Place(tenant, RANKS[priority], XOR)


def test_nothing_goes_before_the_first() -> None:
    assert Profile([(5.0, 15.0, 2.0)]).before(5.0) == 0.0


def test_within_a_group_its_rows_lie_evenly() -> None:
    assert Profile([(5.0, 15.0, 2.0)]).before(10.0) == pytest.approx(1.0)


def test_behind_the_last_all_goes_before() -> None:
    profile = Profile([(5.0, 15.0, 2.0), (0.0, 1.0, 3.0)])

    assert profile.before(100.0) == pytest.approx(profile.total) == pytest.approx(5.0)


def test_rows_of_one_moment_are_no_division_by_zero() -> None:
    assert Profile([(5.0, 5.0, 2.0)]).before(6.0) == pytest.approx(2.0)


def test_an_empty_queue_holds_no_work() -> None:
    profile = Profile([])

    assert (profile.total, profile.before(1e9)) == (0.0, 0.0)


def test_who_has_nothing_waiting_goes_at_once() -> None:
    assert forecast(waiting(1000)).lag_s(place(QUIET)) == 0.0


def test_a_tenant_alone_goes_behind_its_own_work() -> None:
    assert forecast(waiting(1000)).lag_s(place(NOISY)) == pytest.approx(10.0)


def test_tenants_take_turns() -> None:
    both = forecast(waiting(1000), waiting(10, QUIET))

    assert both.lag_s(place(NOISY)) == pytest.approx(20.0)
    assert both.lag_s(place(QUIET)) == pytest.approx(0.2)


def test_what_was_added_since_counts() -> None:
    assert forecast().lag_s(place(), change=0.5) == pytest.approx(0.5)


def test_what_was_done_since_cannot_be_more_than_there_was() -> None:
    assert forecast(waiting(1)).lag_s(place(), change=-3.0) == 0.0


def test_bulk_work_does_not_hold_up_the_same_tenants_urgent_rows() -> None:
    bulk = forecast(waiting(1000, priority=Priority.BULK))

    assert bulk.lag_s(place(priority=Priority.INTERACTIVE)) == 0.0


def test_urgent_work_holds_up_the_same_tenants_other_rows() -> None:
    """Else they would overtake it."""
    urgent = forecast(waiting(1000, priority=Priority.INTERACTIVE))

    assert urgent.lag_s(place(priority=Priority.BULK)) == pytest.approx(10.0)


def test_whose_rows_are_answered_at_once_takes_part_in_the_turns() -> None:
    beside = make_forecast([waiting(1000)], {}, {XOR: 0.01}, {}, 1.0, [QUIET])

    assert beside.lag_s(place(NOISY)) == pytest.approx(20.0)
    assert beside.lag_s(place(QUIET)) == 0.0


def test_copies_and_replays_are_nobodys() -> None:
    copies = forecast(waiting(1000, None))

    assert (copies.rows, copies.key_rows, copies.lag_s(place(None))) == (1000, {}, 0.0)


def test_what_workers_hold_is_work_too() -> None:
    held = make_forecast((), {XOR: 10, "unmeasured/1": 5}, {XOR: 0.01}, {}, 1.0)

    assert held.rows == 0
    assert held.held_s == pytest.approx(0.1)


def test_nobody_is_put_back_for_ever() -> None:
    assert forecast(waiting(10**9)).lag_s(place()) == MOST_LAG_S


def test_without_a_measurement_tenants_are_told_apart_by_their_rows() -> None:
    unmeasured = make_forecast([waiting(100)], {}, {}, {}, 1.0)

    assert unmeasured.lag_s(place()) == pytest.approx(100 * UNKNOWN_COST_S)


def test_workers_share_the_work() -> None:
    workers = [view(1, SLOW), view(2, SLOW)]

    assert row_costs(workers) == {XOR: pytest.approx(1 / 128)}


def test_a_worker_that_does_not_hold_a_version_shares_none_of_its_work() -> None:
    workers = [view(1, SLOW), view(2, SLOW, held=frozenset())]

    assert row_costs(workers) == {XOR: pytest.approx(1 / 64)}


def test_what_workers_do_is_the_share_of_what_they_could() -> None:
    busy = Rate(fixed_s=0.0, item_s=1 / 64, used=0.5)
    workers = [view(1, busy), view(2, busy)]

    assert utilisation(workers, row_costs(workers)) == pytest.approx(0.5)


def test_a_stack_that_has_more_to_do_than_it_does_is_as_fast_as_that() -> None:
    efficiency = Efficiency()
    for second in range(60):
        efficiency.observe(0.4, 5.0, float(second))

    assert efficiency.value == pytest.approx(0.4, abs=0.01)


def test_a_rush_is_not_believed_before_the_rates_have_followed() -> None:
    efficiency = Efficiency()
    for second in range(int(SETTLED_S)):
        efficiency.observe(0.0, 5.0, float(second))

    assert efficiency.value == 1.0


def test_a_stack_with_time_to_spare_forgets_how_slow_it_was() -> None:
    efficiency = Efficiency()
    efficiency.value = 0.4
    for second in range(300):
        efficiency.observe(0.1, 0.0, float(second))

    assert efficiency.value == pytest.approx(1.0, abs=0.01)


def view(worker_id: int, rate: Rate, held: frozenset[str] = frozenset({XOR})) -> WorkerView:
    return WorkerView(worker_id=worker_id, queue=f"q{worker_id}", held=held, rates={XOR: rate})
