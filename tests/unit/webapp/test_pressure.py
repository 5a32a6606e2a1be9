"""`webapp.pressure`: what is known between two looks."""

import pytest

from schemas.enums import Priority
from webapp.forecast import RANKS, Place
from webapp.pressure import LATELY_S, Changes, RecentTenants

COSTS = {"xor/1": 0.5}
PLACE = Place(1, RANKS[Priority.NORMAL], "xor/1")


@pytest.fixture
def changes() -> Changes:
    """One row of normal priority was committed."""
    changes = Changes(COSTS)
    changes.enter(PLACE, 10.0)
    return changes


def test_a_row_that_was_committed_waits(changes: Changes) -> None:
    assert (changes.rows, changes.key_rows.get(1, 0)) == (1, 1)


def test_a_row_that_ended_waits_no_more(changes: Changes) -> None:
    changes.leave(PLACE)

    assert (changes.rows, changes.key_rows.get(1, 0)) == (0, 0)


def test_it_goes_before_those_that_come_after(changes: Changes) -> None:
    assert changes.before_s(10.0) == 0.5


def test_it_does_not_go_before_those_that_are_more_urgent(changes: Changes) -> None:
    assert changes.before_s(0.0) == 0.0


def test_what_was_done_is_no_work_any_more(changes: Changes) -> None:
    changes.leave(PLACE)

    assert changes.before_s(10.0) == 0.0


def test_a_tenants_work_counts_for_its_own_rows_that_are_no_more_urgent(changes: Changes) -> None:
    assert changes.key_work == {1: [0.0, 0.5, 0.5]}


def test_a_row_that_answers_nobody_is_no_tenants(changes: Changes) -> None:
    changes.enter(PLACE._replace(api_key_id=None), 10.0)

    assert (changes.rows, changes.key_rows.get(1, 0)) == (2, 1)


def test_whose_row_was_answered_between_two_looks_was_there(changes: Changes) -> None:
    changes.leave(PLACE)

    assert changes.tenants() == {1}


def test_a_tenant_is_counted_for_some_time_after_it_was_there() -> None:
    recent = RecentTenants()
    recent.note([1, 2], 100.0)

    assert set(recent.note([2], 101.0)) == {1, 2}
    assert set(recent.note([], 100.5 + LATELY_S)) == {2}
