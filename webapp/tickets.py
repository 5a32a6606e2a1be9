"""A request on its way: handed to the submitter, waited for by the view, settled by whoever knows more first."""

import threading
import time
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from schemas.messages import PredictionFinished
from store.ledger_rows import Answer, Submission, finished_event
from store.models import ServedVersion

MS = 1000.0


class Event(Protocol):
    """A thing that happens once and that somebody waits for."""

    def set(self) -> None:
        """Let whoever waits go on. Setting it again changes nothing. May be called from any thread."""


class Signal:
    """An `Event` for one thread that waits.

    A bare lock, since `threading.Event` makes and wakes a condition around one: a tenth of the listener's time.
    """

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()

    def set(self) -> None:
        """Let the waiting thread go on. Setting it again changes nothing."""
        try:
            self._lock.release()
        except RuntimeError:
            return

    def wait(self, timeout_s: float) -> None:
        """Wait until it is set, or until the time is up."""
        if self._lock.acquire(timeout=max(0.0, timeout_s)):
            # For whoever waits or sets next; one that sets at this very moment has done it already.
            self.set()


class Ticket:
    """One submission and what becomes of it.

    A view that wants the answer waits once: for the end, or for a refusal. A view that wants only the
    acceptance waits for that.

    Args:
        submission: What to insert.
        version: The version that will answer.
        wait_s: How long the client is willing to wait for the end; 0 for the acceptance only.

    Attributes:
        inline: Whether it is to be answered in this process.
        payload: The input as it was sent, for whoever answers in this process.
        answer: What is known already; such a submission is stored with it and never queued.
    """

    __slots__ = (
        "_began_at",
        "_settled",
        "_signal",
        "accepted_at",
        "answer",
        "error",
        "finished",
        "inline",
        "payload",
        "repeated",
        "submission",
        "version",
        "wait_s",
    )

    def __init__(self, submission: Submission, version: ServedVersion, *, wait_s: float) -> None:
        self.submission = submission
        self.version = version
        self.inline = False
        self.payload: Any = None
        self.answer: Answer | None = None
        self.accepted_at: datetime | None = None
        self.repeated = False
        self.finished: PredictionFinished | None = None
        self.error: Exception | None = None
        self.wait_s = wait_s
        self._began_at = time.perf_counter()
        self._signal = Signal()
        self._settled: Event = self._signal

    def settle_by(self, event: Event) -> None:
        """Set this event, not the one that `wait` waits for. Called before the ticket is handed over."""
        self._settled = event

    def elapsed_ms(self) -> float:
        """Milliseconds since the request came."""
        return (time.perf_counter() - self._began_at) * MS

    def accept(self, at: datetime) -> None:
        """The row is committed."""
        self.accepted_at = at
        if not self.wait_s:
            self._settled.set()

    def repeat(self) -> None:
        """Nothing was inserted: the idempotency key is an older request's."""
        self.repeated = True
        self._settled.set()

    def refuse(self, error: Exception) -> None:
        """Nothing was inserted."""
        self.error = error
        self._settled.set()

    def finish(self, event: PredictionFinished | None) -> None:
        """The prediction is terminal. None: it is not, but nobody can wait any longer."""
        if event is None and self.accepted_at is None:
            # The acceptance is a moment away, and all that is waited for from now on.
            self.wait_s = 0.0
            return
        self.finished = event
        self._settled.set()

    def finish_early(self, answer: Answer) -> None:
        """The prediction is answered; its row follows."""
        finished_at = datetime.now(UTC)
        started_at = finished_at - timedelta(milliseconds=answer.elapsed_ms)
        self.finish(finished_event(self.submission.id, answer, started_at, finished_at))

    def wait(self, timeout_s: float) -> None:
        """Wait in this thread until settled.

        Raises:
            Exception: As `check` does.
        """
        self._signal.wait(timeout_s)
        self.check()

    def check(self) -> None:
        """Look at what it was settled with.

        Raises:
            Exception: The submission was refused, with the reason that `refuse` was given.
        """
        if self.error is not None:
            raise self.error


class Waiter:
    """A long poll for one prediction that any process accepted.

    Args:
        timeout_s: How long the client is willing to wait.
    """

    __slots__ = ("_settled", "_until")

    def __init__(self, timeout_s: float) -> None:
        self._until = time.monotonic() + timeout_s
        self._settled = Signal()

    def wake(self, event: PredictionFinished | None) -> None:
        """The prediction is terminal. None: it is not, but nobody can wait any longer."""
        if event is None:
            self._until = time.monotonic()
        self._settled.set()

    def is_over(self) -> bool:
        """Whether the time is up."""
        return time.monotonic() >= self._until

    def wait(self) -> None:
        """Wait for the end or for the time that was given."""
        self._settled.wait(self._until - time.monotonic())
