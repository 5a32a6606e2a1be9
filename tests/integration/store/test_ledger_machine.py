"""The ledger against a model of it: random walks over real Postgres, compared after every step.

`LEDGER_WALKS=nightly` takes more and longer ones: 5,000 walks of 50 steps.
"""

import os
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from sqlalchemy import Engine, text

from schemas.enums import PredictionStatus, Priority
from store import ledger
from store.ledger import MAX_ATTEMPTS, MAX_CRASHES
from store.ledger_rows import Claim, Finished, Requeued
from store.models import ServedVersion
from tests.factories import HOST, Rows, failure, submission, success

QUEUED, PROCESSING = PredictionStatus.QUEUED, PredictionStatus.PROCESSING

PIDS = (1, 2, 3)

#: Few, so that repeats are common.
KEYS = ("red", "green", "blue")

#: Walks and steps of each, by the profile that the environment names.
PROFILES = {"commit": (40, 30), "nightly": (5_000, 50)}
PROFILE = os.environ.get("LEDGER_WALKS", "commit")


@dataclass
class Expected:
    """What one row should look like."""

    status: str = QUEUED
    attempt: int = 0
    crashes: int = 0
    fence: int | None = None
    pid: int | None = None
    has_deadline: bool = False
    ends: list[str] = field(default_factory=list)

    def lose_claim(self, fatal: bool) -> None:
        """Wait again, or fail for good."""
        self.status = PredictionStatus.FAILED if fatal else QUEUED


class LedgerMachine(RuleBasedStateMachine):
    """Submits, claims, completes, cancels and loses workers in any order, in one transaction that is rolled back."""

    def __init__(self, database: Engine, version: ServedVersion) -> None:
        super().__init__()
        self._connection = database.connect()
        self._rows = Rows(self._connection, version)
        self._workers = {pid: self._rows.worker(pid=pid) for pid in PIDS}
        self._expected: dict[UUID, Expected] = {}
        self._claims: list[Claim] = []
        self._fence = 0
        self._terminal: dict[UUID, tuple[Any, ...]] = {}
        self._first_of_key: dict[str, UUID] = {}

    def teardown(self) -> None:
        """Undo everything."""
        self._connection.close()

    @rule(priority=st.sampled_from(Priority), has_deadline=st.booleans(), count=st.integers(1, 3))
    def submit(self, priority: Priority, has_deadline: bool, count: int) -> None:
        """Accept some rows."""
        deadline_ms = 60_000 if has_deadline else None
        for prediction_id in self._rows.add_many(count, priority=priority, deadline_ms=deadline_ms):
            self._expected[prediction_id] = Expected(has_deadline=has_deadline)

    @rule(key=st.sampled_from(KEYS))
    def repeat(self, key: str) -> None:
        """Ask with a key; whatever became of the first row of that key since, no second is made."""
        asked = submission(self._rows.version, idempotency_key=key, request_sha256="same")
        accepted = ledger.submit(self._connection, [asked])
        if key not in self._first_of_key:
            assert list(accepted) == [asked.id]
            self._first_of_key[key] = asked.id
            self._expected[asked.id] = Expected()
        assert accepted.keys() <= {self._first_of_key[key]}
        found = ledger.find_repeat(self._connection, api_key_id=asked.api_key_id, key=key)
        assert found == (self._first_of_key[key], "same")

    @rule(pid=st.sampled_from(PIDS), limit=st.integers(1, 4))
    def claim(self, pid: int, limit: int) -> None:
        """Take a batch; its rows were queued, its fences are new."""
        claims = self._rows.claim(limit, self._workers[pid])
        assert bool(claims) == any(row.status == QUEUED for row in self._expected.values())
        for claim in claims:
            row = self._expected[claim.id]
            assert row.status == QUEUED
            assert row.crashes == 0 or len(claims) == 1
            row.status, row.attempt, row.fence, row.pid = PROCESSING, row.attempt + 1, claim.fence, pid
        assert all(claim.fence > self._fence for claim in claims)
        self._fence = max([self._fence, *(claim.fence for claim in claims)])
        self._claims += claims

    @precondition(lambda self: self._claims)
    @rule(data=st.data(), succeeds=st.booleans())
    def complete(self, data: st.DataObject, succeeds: bool) -> None:
        """Write outcomes of claims old and new; only those of current claims count."""
        claims = data.draw(st.lists(st.sampled_from(self._claims), min_size=1, max_size=4, unique_by=lambda c: c.id))
        current = {claim.id for claim in claims if self._is_current(claim)}
        self._end(ledger.complete(self._connection, [success(c) if succeeds else failure(c) for c in claims]))
        for prediction_id in current:
            self._expected[prediction_id].status = "succeeded" if succeeds else "failed"

    @rule(keep_attempt=st.booleans())
    def hear_from_the_dead(self, keep_attempt: bool) -> None:
        """Workers write outcomes of all that was taken from them, and give it back; nothing of it counts."""
        late = [claim for claim in self._claims if not self._is_current(claim)]
        assert ledger.complete(self._connection, [success(claim) for claim in late]) == []
        released = ledger.release(self._connection, late, keep_attempt=keep_attempt)
        assert (released.queued, released.finished) == (0, [])

    @precondition(lambda self: self._claims)
    @rule(data=st.data(), keep_attempt=st.booleans())
    def release(self, data: st.DataObject, keep_attempt: bool) -> None:
        """Give a claim back, be it current or not."""
        claim = data.draw(st.sampled_from(self._claims))
        current = self._is_current(claim)
        self._end(ledger.release(self._connection, [claim], keep_attempt=keep_attempt).finished)
        if current:
            row = self._expected[claim.id]
            row.attempt -= keep_attempt
            row.lose_claim(fatal=row.attempt >= MAX_ATTEMPTS)

    @precondition(lambda self: self._expected)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        """Cancel any row, in any state."""
        prediction_id = data.draw(st.sampled_from(list(self._expected)))
        self._end(ledger.cancel(self._connection, prediction_id))
        if self._expected[prediction_id].status in {QUEUED, PROCESSING}:
            self._expected[prediction_id].status = PredictionStatus.CANCELED

    @rule(pid=st.sampled_from(PIDS), noticed_by_supervisor=st.booleans())
    def lose_worker(self, pid: int, noticed_by_supervisor: bool) -> None:
        """A worker dies; the supervisor sees it, or its lease runs out. Another takes its place."""
        if noticed_by_supervisor:
            requeued = ledger.release_dead_worker(self._connection, host=HOST, pid=pid)
        else:
            self._rows.shift_lease(self._workers[pid], -1)
            requeued = ledger.reap(self._connection)
        self._end(requeued.finished)
        self._workers[pid] = self._rows.worker(pid=pid)
        for row in self._expected.values():
            if row.status == PROCESSING and row.pid == pid:
                row.crashes += 1
                row.lose_claim(fatal=row.crashes >= MAX_CRASHES or row.attempt >= MAX_ATTEMPTS)

    @precondition(lambda self: self._claims)
    @rule(data=st.data())
    def hang(self, data: st.DataObject) -> None:
        """A claim is past its budget, although the heartbeat of its worker goes on; the others of that worker stay."""
        claim = data.draw(st.sampled_from(self._claims))
        if self._is_current(claim):
            self._rows.shift(claim.id, "attempt_deadline_at", -1)
            row = self._expected[claim.id]
            row.crashes += 1
            row.lose_claim(fatal=row.crashes >= MAX_CRASHES or row.attempt >= MAX_ATTEMPTS)
        self._end(ledger.reap(self._connection).finished)

    @rule()
    def reap_the_living(self) -> None:
        """Where every worker renews its lease, a reaper finds nothing, however often it looks."""
        assert ledger.reap(self._connection) == Requeued(queued=0, finished=[])

    @precondition(lambda self: self._expected)
    @rule(data=st.data())
    def pass_deadline(self, data: st.DataObject) -> None:
        """The deadline of a row passes; only a queued row minds."""
        prediction_id = data.draw(st.sampled_from(list(self._expected)))
        row = self._expected[prediction_id]
        if row.has_deadline and row.status == QUEUED:
            self._rows.shift(prediction_id, "deadline_at", 0)
            row.status = PredictionStatus.EXPIRED
        self._end(ledger.expire(self._connection))

    @invariant()
    def every_row_is_as_expected(self) -> None:
        """The database agrees with the model, and what is terminal never changes."""
        for row in self._connection.execute(text("SELECT * FROM predictions")):
            expected = self._expected[row.id]
            assert (row.status, row.attempt) == (expected.status, expected.attempt)
            assert (row.crash_count, row.fence) == (expected.crashes, expected.fence)
            if PredictionStatus(row.status).is_terminal:
                seen = (row.status, row.result, row.error_code, row.finished_at)
                assert self._terminal.setdefault(row.id, seen) == seen

    @invariant()
    def every_end_was_told_exactly_once(self) -> None:
        """A client hears of one end, and of the one that the row shows."""
        for expected in self._expected.values():
            is_terminal = PredictionStatus(expected.status).is_terminal
            assert expected.ends == ([expected.status] if is_terminal else [])

    def _is_current(self, claim: Claim) -> bool:
        row = self._expected[claim.id]
        return row.status == PROCESSING and row.fence == claim.fence

    def _end(self, finished: list[Finished]) -> None:
        for entry in finished:
            self._expected[UUID(entry.event.id)].ends.append(entry.event.status)


@pytest.mark.timeout(180 if PROFILE == "commit" else 0)
def test_no_walk_over_the_ledger_leaves_its_states(database: Engine, xor: ServedVersion) -> None:
    walks, steps = PROFILES[PROFILE]
    run_state_machine_as_test(
        lambda: LedgerMachine(database, xor),  # type: ignore[arg-type]  # A function that makes one will do.
        settings=settings(
            max_examples=walks,
            stateful_step_count=steps,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
