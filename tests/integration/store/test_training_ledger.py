"""`store.training_ledger`: every transition, under its fence and guarded by the database."""

from collections.abc import Callable
from uuid import UUID

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from schemas.enums import FeedbackChoice, TrainingErrorCode, TrainingTrigger
from schemas.training_options import TrainingOptions
from store import training_ledger as ledger
from store.training_ledger import MAX_CRASHES, MAX_LOG_CHARACTERS, TrainingClaim
from store.trainings import get_training, request_training
from tests.factories import Rows

NONE = TrainingOptions(feedback=FeedbackChoice.NONE)
PROGRESS = {"epoch": 1, "epochs": 2, "step": 3, "steps": 6, "loss": 0.5, "metric": 0.75}

End = Callable[[Connection, TrainingClaim], object]

ENDINGS: dict[str, End] = {
    "succeeded": lambda connection, claim: ledger.succeed(connection, claim, version_id=1, metrics={}),
    "failed": lambda connection, claim: ledger.fail(
        connection, claim, code=TrainingErrorCode.DIVERGED, detail="it broke"
    ),
    "canceled": lambda connection, claim: ledger.cancel(connection, claim.id),
}


@pytest.fixture
def training_id(session: Session) -> UUID:
    return request_training(session, name="xor", options=NONE, trigger=TrainingTrigger.API, actor="tests").id


@pytest.fixture
def claim(training_id: UUID, rows: Rows) -> TrainingClaim:
    return take(rows, training_id)


def test_a_claim_carries_what_the_worker_needs(training_id: UUID, rows: Rows) -> None:
    claim = take(rows, training_id)

    assert (claim.model, claim.attempt, claim.options["feedback"]) == ("xor", 1, "none")
    assert claim.left_s == pytest.approx(3600, abs=1)


@pytest.mark.usefixtures("claim")
def test_what_is_claimed_is_not_claimed_again(rows: Rows) -> None:
    assert ledger.claim_training(rows.connection, worker_id=rows.worker_id, device="cpu:0") is None


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_terminal_state_never_changes(claim: TrainingClaim, rows: Rows, session: Session, ending: str) -> None:
    ENDINGS[ending](rows.connection, claim)

    for end in ENDINGS.values():
        assert not end(rows.connection, claim)
    assert get_training(session, claim.id).status == ending


@pytest.mark.parametrize("ending", ENDINGS)
def test_the_database_refuses_to_leave_a_terminal_state(claim: TrainingClaim, rows: Rows, ending: str) -> None:
    ENDINGS[ending](rows.connection, claim)

    with pytest.raises(IntegrityError, match=f"may not go from {ending} to queued"):
        rows.connection.execute(text("UPDATE trainings SET status = 'queued'"))


def test_a_stale_claim_changes_nothing(claim: TrainingClaim, rows: Rows, session: Session) -> None:
    ledger.release(rows.connection, claim)
    again = take(rows, claim.id)

    assert not ledger.report(rows.connection, claim, progress=PROGRESS, log="late\n")
    assert ledger.save_checkpoint(rows.connection, claim, digest="00", epoch=1) == (False, None)
    assert not ledger.fail(rows.connection, claim, code=TrainingErrorCode.INTERNAL, detail="late")
    assert again.attempt == 2
    assert get_training(session, claim.id).progress is None


def test_progress_and_log_are_told(claim: TrainingClaim, rows: Rows, session: Session) -> None:
    ledger.report(rows.connection, claim, progress=PROGRESS, log="one\n")
    ledger.report(rows.connection, claim, progress=None, log="two\0\n")

    training = get_training(session, claim.id, with_log=True)
    assert (training.progress, training.log) == (PROGRESS, "one\ntwo\n")


def test_of_a_long_log_the_end_is_kept(claim: TrainingClaim, rows: Rows, session: Session) -> None:
    ledger.report(rows.connection, claim, progress=None, log="a" * MAX_LOG_CHARACTERS + "end")

    log = get_training(session, claim.id, with_log=True).log
    assert (len(log), log[-3:]) == (MAX_LOG_CHARACTERS, "end")


def test_a_checkpoint_tells_which_one_it_replaces(claim: TrainingClaim, rows: Rows) -> None:
    assert ledger.save_checkpoint(rows.connection, claim, digest="aa", epoch=1) == (True, None)
    assert ledger.save_checkpoint(rows.connection, claim, digest="bb", epoch=2) == (True, "aa")


def test_a_crash_gives_the_training_back_until_it_helps_no_more(
    claim: TrainingClaim, rows: Rows, session: Session
) -> None:
    for _ in range(MAX_CRASHES - 1):
        ledger.crash(rows.connection, claim, detail="it died")
        claim = take(rows, claim.id)
    ledger.crash(rows.connection, claim, detail="it died")

    training = get_training(session, claim.id)
    assert (training.status, training.error_code, training.error_detail) == ("failed", "worker_crash", "it died")


def test_a_training_that_comes_a_checkpoint_further_may_crash_again(
    claim: TrainingClaim, rows: Rows, session: Session
) -> None:
    for epoch in range(2 * MAX_CRASHES):
        ledger.save_checkpoint(rows.connection, claim, digest=str(epoch), epoch=epoch)
        ledger.crash(rows.connection, claim, detail="it died")
        claim = take(rows, claim.id)

    assert get_training(session, claim.id).attempt == 2 * MAX_CRASHES + 1


def test_what_a_worker_held_whose_lease_ran_out_is_queued_again(
    claim: TrainingClaim, rows: Rows, session: Session
) -> None:
    rows.shift_lease(rows.worker_id, -1)

    assert list(ledger.reap(rows.connection).queued) == [claim.id]
    assert get_training(session, claim.id).crash_count == 1


def test_a_training_of_a_living_worker_is_left_alone(claim: TrainingClaim, rows: Rows, session: Session) -> None:
    ledger.reap(rows.connection)

    assert get_training(session, claim.id).status == "processing"


def test_a_training_long_past_its_limit_fails_whoever_holds_it(
    claim: TrainingClaim, rows: Rows, session: Session
) -> None:
    rows.connection.execute(text("UPDATE trainings SET deadline_at = now() - interval '1 minute'"))

    assert list(ledger.reap(rows.connection).failed) == [claim.id]
    assert get_training(session, claim.id).error_code == "time_limit"


def test_a_training_that_waits_beside_an_idle_worker_is_stranded(training_id: UUID, rows: Rows) -> None:
    assert ledger.stranded(rows.connection) is None

    _training_worker(rows)

    assert ledger.stranded(rows.connection) == (training_id, "xor")


def test_a_training_that_waits_behind_another_is_not_stranded(rows: Rows, session: Session) -> None:
    worker_id = _training_worker(rows)
    for name in ("xor", "fashion"):
        request_training(session, name=name, options=NONE, trigger=TrainingTrigger.API, actor="tests")
    ledger.claim_training(rows.connection, worker_id=worker_id, device="cpu:0")

    assert ledger.stranded(rows.connection) is None


def take(rows: Rows, training_id: UUID) -> TrainingClaim:
    claim = ledger.claim_training(rows.connection, worker_id=rows.worker_id, device="cpu:0", only=training_id)
    assert claim is not None
    return claim


def _training_worker(rows: Rows) -> int:
    worker_id = rows.worker()
    rows.connection.execute(text("UPDATE workers SET role = 'training' WHERE id = :id"), {"id": worker_id})
    return worker_id
