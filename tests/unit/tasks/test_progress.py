"""`tasks.progress`: whether the loop comes forward."""

import pytest

from tasks.progress import LEAST_BUDGET_S, SLACK, ComputeBudgets, Progress

KEY = ("fashion", 1)


def test_a_loop_that_does_nothing_moves() -> None:
    assert Progress().is_moving()


def test_work_within_its_budget_moves() -> None:
    progress = Progress()

    with progress.at_work("device", 60.0):
        assert progress.is_moving()


def test_work_beyond_its_budget_hangs_until_it_ends() -> None:
    progress = Progress()

    with progress.at_work("device", 0.0):
        assert not progress.is_moving()

    assert progress.is_moving()


def test_one_phase_that_hangs_is_enough() -> None:
    progress = Progress()

    with progress.at_work("device", 0.0), progress.at_work("prepare", 60.0):
        assert not progress.is_moving()


def test_work_that_fails_is_over() -> None:
    progress = Progress()

    with pytest.raises(ZeroDivisionError), progress.at_work("device", 0.0):
        raise ZeroDivisionError

    assert progress.is_idle()


def test_looking_for_work_and_ending_some_are_counted() -> None:
    progress = Progress()
    before = progress.looks

    progress.note_look()
    with progress.at_work("device", 1.0):
        assert not progress.is_idle()

    assert progress.looks == before + 2


def test_a_version_that_nobody_knows_may_take_all_the_time() -> None:
    assert ComputeBudgets(60.0).budget_s(KEY, 1) == 60.0


def test_a_known_version_may_take_many_times_what_it_took() -> None:
    budgets = ComputeBudgets(60.0)
    budgets.note(KEY, 10, 1.0)

    assert budgets.budget_s(KEY, 20) == pytest.approx(SLACK * 2.0)


def test_the_slowest_counts() -> None:
    budgets = ComputeBudgets(60.0)
    budgets.note(KEY, 1, 1.0)
    budgets.note(KEY, 1, 0.001)

    assert budgets.budget_s(KEY, 1) == pytest.approx(SLACK)


def test_no_budget_is_less_than_what_a_busy_machine_takes() -> None:
    budgets = ComputeBudgets(60.0)
    budgets.note(KEY, 1, 0.001)

    assert budgets.budget_s(KEY, 1) == LEAST_BUDGET_S


def test_no_budget_is_more_than_that_of_the_claim() -> None:
    budgets = ComputeBudgets(60.0)
    budgets.note(KEY, 1, 30.0)

    assert budgets.budget_s(KEY, 100) == 60.0
