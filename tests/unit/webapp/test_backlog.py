"""`webapp.backlog`: what the dispatcher has yet to see to."""

import pytest

from schemas.enums import Priority
from webapp.backlog import FORGET_AFTER_S, Backlog
from webapp.forecast import RANKS, Place

XOR = ("xor", 1)


@pytest.fixture
def backlog() -> Backlog:
    """Three rows, a second after each other."""
    backlog = Backlog()
    for number, name in enumerate("abc"):
        backlog.add(name, XOR, float(number))
    return backlog


def test_rows_wait_until_somebody_is_rung(backlog: Backlog) -> None:
    assert backlog.unrung(5.0) == [(XOR, 3, 5.0)]


def test_the_oldest_rows_are_handed_over_first(backlog: Backlog) -> None:
    assert backlog.hand_over("q", XOR, 2) == ["a", "b"]
    assert backlog.unrung(5.0) == [(XOR, 1, 3.0)]


def test_finished_rows_are_forgotten(backlog: Backlog) -> None:
    backlog.forget(["a", "b", "c", "unknown"])

    assert (backlog.is_open, backlog.has_unrung(), backlog.unrung(5.0)) == (False, False, [])


def test_rows_of_a_silent_worker_wait_again_unless_they_are_finished(backlog: Backlog) -> None:
    backlog.hand_over("q", XOR, 3)
    backlog.forget(["b"])

    backlog.take_back("q")

    assert sorted(backlog.hand_over("other", XOR, 9)) == ["a", "c"]


def test_rows_that_were_handed_over_are_still_open(backlog: Backlog) -> None:
    backlog.hand_over("q", XOR, 3)

    assert (backlog.is_open, backlog.has_unrung()) == (True, False)


def test_a_row_whose_end_was_never_heard_is_dropped(backlog: Backlog) -> None:
    assert backlog.unrung(FORGET_AFTER_S + 1.5) == [(XOR, 1, FORGET_AFTER_S - 0.5)]


def test_it_is_told_what_ended_and_not_what_was_lost_sight_of() -> None:
    left: list[Place] = []
    backlog = Backlog(left.append)
    place = Place(1, RANKS[Priority.NORMAL], "xor/1")
    backlog.add("a", XOR, 0.0, place)
    backlog.add("b", XOR, 0.0, place)

    backlog.forget(["a", "unknown"])
    backlog.unrung(FORGET_AFTER_S + 1.0)

    assert left == [place]
