"""`webapp.tickets`: settled by whoever knows more first."""

import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from uuid import UUID

import pytest

from store.ledger_rows import Submission
from tests.running import PATIENCE_S
from tests.unit.webapp.test_presenters import EVENT, SERVED
from webapp.errors import DatabaseUnavailableError
from webapp.tickets import Signal, Ticket, Waiter

NOW = datetime.now(UTC)

# Never waited for in full: what is settled returns at once.


@pytest.fixture
def ticket() -> Ticket:
    """Of a request that waits for its end."""
    return make_ticket(wait_s=10)


def make_ticket(*, wait_s: float) -> Ticket:
    """Make a ticket that nobody has settled."""
    submission = Submission(id=UUID(int=0), api_key_id=1, model_id=1, model_version_id=1, reply_channel=None)
    return Ticket(submission, SERVED, wait_s=wait_s)


def test_a_finished_ticket_is_settled(ticket: Ticket) -> None:
    ticket.accept(NOW)
    ticket.finish(EVENT)

    ticket.wait(PATIENCE_S)

    assert ticket.finished is EVENT


def test_a_ticket_may_be_finished_before_its_acceptance_is_known(ticket: Ticket) -> None:
    ticket.finish(EVENT)
    ticket.accept(NOW)

    ticket.wait(PATIENCE_S)

    assert (ticket.accepted_at, ticket.finished) == (NOW, EVENT)


def test_a_ticket_that_waits_for_the_end_is_not_settled_by_its_acceptance(ticket: Ticket) -> None:
    ticket.accept(NOW)

    ticket.wait(0.0)

    assert ticket.finished is None


def test_a_ticket_that_waits_for_its_acceptance_is_settled_by_it() -> None:
    ticket = make_ticket(wait_s=0)
    ticket.accept(NOW)

    ticket.wait(PATIENCE_S)

    assert ticket.accepted_at == NOW


def test_a_repeat_is_settled(ticket: Ticket) -> None:
    ticket.repeat()

    ticket.wait(PATIENCE_S)

    assert ticket.repeated


def test_a_refusal_is_raised_with_its_reason(ticket: Ticket) -> None:
    ticket.refuse(DatabaseUnavailableError("away"))

    with pytest.raises(DatabaseUnavailableError, match="away"):
        ticket.wait(PATIENCE_S)


def test_a_ticket_that_nobody_settles_waits_no_longer_than_its_time(ticket: Ticket) -> None:
    ticket.wait(0.001)

    assert (ticket.accepted_at, ticket.finished, ticket.error) == (None, None, None)


@pytest.mark.usefixtures("restless")
class HastyLock:
    """A lock that somebody else releases at the very moment that it was acquired."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def acquire(self, *, timeout: float) -> bool:
        """Acquire and lose it again."""
        acquired = self._lock.acquire(timeout=timeout)
        self._lock.release()
        return acquired

    def release(self) -> None:
        """Refuse, since it is released already."""
        self._lock.release()


def test_a_signal_that_is_set_again_while_its_waiter_wakes_harms_nobody() -> None:
    signal = Signal()
    signal._lock = HastyLock()  # type: ignore[assignment]

    signal.wait(PATIENCE_S)


def test_a_ticket_settled_from_two_sides_at_once_harms_nobody() -> None:
    with ThreadPoolExecutor(2) as pool:
        for _ in range(300):
            ticket = make_ticket(wait_s=0)
            settled = [pool.submit(ticket.accept, NOW), pool.submit(ticket.finish, EVENT)]
            ticket.wait(PATIENCE_S)
            for each in settled:
                each.result()


def test_a_waiter_is_woken() -> None:
    waiter = Waiter(PATIENCE_S)
    waiter.wake(EVENT)

    waiter.wait()

    assert not waiter.is_over()


def test_a_waiter_may_be_woken_twice_and_wait_again() -> None:
    waiter = Waiter(PATIENCE_S)
    for _ in range(2):
        waiter.wake(EVENT)

    for _ in range(2):
        waiter.wait()


@pytest.mark.parametrize("timeout_s", [0.0, 0.001])
def test_a_waiter_that_nobody_wakes_is_over(timeout_s: float) -> None:
    waiter = Waiter(timeout_s)

    waiter.wait()

    assert waiter.is_over()


@pytest.fixture
def restless() -> Iterator[None]:
    """Threads take turns as often as the interpreter lets them."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def test_a_ticket_whose_process_ends_is_settled_without_an_answer(ticket: Ticket) -> None:
    ticket.accept(NOW)

    ticket.finish(None)

    ticket.wait(PATIENCE_S)
    assert (ticket.accepted_at, ticket.finished) == (NOW, None)


def test_a_ticket_whose_process_ends_is_let_be_accepted_first(ticket: Ticket) -> None:
    ticket.finish(None)
    ticket.accept(NOW)

    ticket.wait(PATIENCE_S)

    assert ticket.accepted_at == NOW


def test_a_long_poll_in_a_process_that_ends_is_over() -> None:
    waiter = Waiter(PATIENCE_S)

    waiter.wake(None)

    waiter.wait()
    assert waiter.is_over()
