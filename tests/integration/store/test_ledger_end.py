"""The ways out of `processing` and `queued`: complete, release, reap, cancel, expire."""

from uuid import uuid4

import pytest
from sqlalchemy import Connection, text

from schemas.enums import ErrorCode, StopReason
from store import ledger
from store.ledger import MAX_ATTEMPTS
from tests.factories import ANSWER, HOST, Rows, failure, success


def test_a_result_ends_a_prediction(rows: Rows) -> None:
    claim = rows.claim_one()

    ledger.complete(rows.connection, [success(claim)])

    row = rows.get(claim.id)
    assert (row.status, row.result, row.error_code) == ("succeeded", ANSWER, None)
    assert (row.decode_ms, row.compute_ms) == (1.0, 2.0)
    assert row.finished_at is not None


def test_an_error_fails_a_prediction_with_its_reason(rows: Rows) -> None:
    claim = rows.claim_one()

    ledger.complete(rows.connection, [failure(claim, ErrorCode.INVALID_INPUT)])

    row = rows.get(claim.id)
    assert (row.status, row.result, row.error_code, row.error_detail) == ("failed", None, "invalid_input", "it broke")


def test_a_batch_ends_in_one_statement_each_with_its_own_outcome(rows: Rows) -> None:
    ids = rows.add_many(3)
    good, bad, other = rows.claim()

    ledger.complete(rows.connection, [success(good), failure(bad), success(other)])

    assert rows.statuses(ids) == ["succeeded", "failed", "succeeded"]


def test_completing_tells_what_ended_and_who_waits(rows: Rows) -> None:
    claim = rows.claim_one(reply_channel="web-1")

    [finished] = ledger.complete(rows.connection, [success(claim)])

    event = finished.event
    assert finished.reply_channel == "web-1"
    assert (event.id, event.status, event.result, event.device) == (str(claim.id), "succeeded", ANSWER, "cpu:0")


def test_completing_nothing_changes_nothing(connection: Connection) -> None:
    assert ledger.complete(connection, []) == []


def test_a_second_result_is_dropped(rows: Rows) -> None:
    claim = rows.claim_one()
    ledger.complete(rows.connection, [success(claim)])

    assert ledger.complete(rows.connection, [success(claim, label="late")]) == []
    assert rows.get(claim.id).result == ANSWER


def test_a_late_result_is_dropped_after_another_worker_claimed_the_row(rows: Rows) -> None:
    stale = rows.claim_one()
    _lose_worker(rows)
    [current] = rows.claim(worker_id=rows.worker(pid=2))

    assert ledger.complete(rows.connection, [success(stale, label="late")]) == []
    assert len(ledger.complete(rows.connection, [success(current)])) == 1


def test_a_late_result_is_dropped_while_the_row_waits_again(rows: Rows) -> None:
    stale = rows.claim_one()
    _lose_worker(rows)

    assert ledger.complete(rows.connection, [success(stale)]) == []
    assert rows.status(stale.id) == "queued"


def test_a_released_row_waits_again(rows: Rows) -> None:
    claim = rows.claim_one()

    requeued = ledger.release(rows.connection, [claim], keep_attempt=False)

    assert (requeued.queued, requeued.finished) == (1, [])
    assert rows.status(claim.id) == "queued"


@pytest.mark.parametrize(("keep_attempt", "attempt"), [(True, 0), (False, 1)])
def test_a_release_uses_up_the_attempt_unless_the_row_was_not_to_blame(
    rows: Rows, keep_attempt: bool, attempt: int
) -> None:
    claim = rows.claim_one()

    ledger.release(rows.connection, [claim], keep_attempt=keep_attempt)

    assert rows.get(claim.id).attempt == attempt


def test_a_release_may_put_the_next_attempt_off(rows: Rows) -> None:
    ledger.release(rows.connection, [rows.claim_one()], delay_s=5, keep_attempt=False)

    assert rows.claim() == []


def test_a_release_of_a_row_that_is_no_longer_held_leaves_it_alone(rows: Rows) -> None:
    claim = rows.claim_one()
    ledger.complete(rows.connection, [success(claim)])

    requeued = ledger.release(rows.connection, [claim], keep_attempt=True)

    assert (requeued.queued, requeued.finished) == (0, [])
    assert rows.status(claim.id) == "succeeded"


def test_a_release_of_a_row_that_another_worker_took_over_leaves_it_alone(rows: Rows) -> None:
    stale = rows.claim_one()
    _lose_worker(rows)
    [current] = rows.claim(worker_id=rows.worker(pid=2))

    assert ledger.release(rows.connection, [stale], keep_attempt=True).queued == 0
    assert (rows.status(stale.id), rows.get(stale.id).fence) == ("processing", current.fence)


def test_a_row_fails_for_good_when_its_attempts_are_used_up(rows: Rows) -> None:
    claim = rows.claim_one(reply_channel="web-1")
    for _ in range(MAX_ATTEMPTS - 1):
        ledger.release(rows.connection, [claim], keep_attempt=False)
        [claim] = rows.claim()

    [finished] = ledger.release(rows.connection, [claim], keep_attempt=False).finished

    assert (finished.event.error_code, finished.reply_channel) == ("attempts_exhausted", "web-1")
    assert rows.status(claim.id) == "failed"


def test_drains_never_use_attempts_up(rows: Rows) -> None:
    claim = rows.claim_one()
    for _ in range(MAX_ATTEMPTS + 1):
        ledger.release(rows.connection, [claim], keep_attempt=True)
        [claim] = rows.claim()

    assert rows.get(claim.id).attempt == 1


def test_a_reap_takes_back_what_a_worker_held_whose_lease_ran_out(rows: Rows) -> None:
    claim = rows.claim_one()
    rows.shift_lease(rows.worker_id, -1)

    assert ledger.reap(rows.connection).queued == 1
    assert (rows.status(claim.id), rows.get(claim.id).crash_count) == ("queued", 1)


def test_a_reap_ends_the_life_whose_lease_ran_out(rows: Rows) -> None:
    rows.shift_lease(rows.worker_id, -1)

    ledger.reap(rows.connection)

    reason = text("SELECT stop_reason FROM workers WHERE id = :id AND stopped_at IS NOT NULL")
    assert rows.connection.execute(reason, {"id": rows.worker_id}).scalar_one() == "lease_expired"


def test_a_reap_leaves_alone_what_a_live_worker_holds(rows: Rows) -> None:
    claim = rows.claim_one()

    assert ledger.reap(rows.connection).queued == 0
    assert rows.status(claim.id) == "processing"


def test_a_reap_takes_back_a_claim_that_hangs_past_its_budget(rows: Rows) -> None:
    claim = rows.claim_one()
    rows.shift(claim.id, "attempt_deadline_at", -1)

    assert ledger.reap(rows.connection).queued == 1


def test_a_reap_takes_back_a_claim_of_a_worker_that_nobody_knows(rows: Rows) -> None:
    rows.add()
    rows.claim(worker_id=999_999)

    assert ledger.reap(rows.connection).queued == 1


def test_a_second_crash_fails_a_row_for_good(rows: Rows) -> None:
    claim = rows.claim_one(reply_channel="web-1")
    _lose_worker(rows)
    rows.claim(worker_id=rows.worker(pid=2))

    [finished] = ledger.release_dead_worker(rows.connection, host=HOST, pid=2).finished

    assert (finished.event.error_code, finished.reply_channel) == ("worker_crash", "web-1")
    assert rows.status(claim.id) == "failed"


def test_a_crash_in_the_last_attempt_fails_a_row_for_good(rows: Rows) -> None:
    claim = rows.claim_one()
    for _ in range(MAX_ATTEMPTS - 1):
        ledger.release(rows.connection, [claim], keep_attempt=False)
        [claim] = rows.claim()

    _lose_worker(rows)

    assert rows.get(claim.id).error_code == "attempts_exhausted"


def test_a_dead_process_gives_back_what_it_held_before_its_lease_runs_out(rows: Rows) -> None:
    claim = rows.claim_one()

    assert ledger.release_dead_worker(rows.connection, host=HOST, pid=1).queued == 1
    assert rows.status(claim.id) == "queued"


@pytest.mark.parametrize(("host", "pid"), [(HOST, 2), ("another", 1)])
def test_another_process_that_dies_gives_nothing_back(rows: Rows, host: str, pid: int) -> None:
    claim = rows.claim_one()

    assert ledger.release_dead_worker(rows.connection, host=host, pid=pid).queued == 0
    assert rows.status(claim.id) == "processing"


def test_a_queued_row_can_be_cancelled(rows: Rows) -> None:
    prediction_id = rows.add(reply_channel="web-1")

    [finished] = ledger.cancel(rows.connection, prediction_id)

    assert (finished.event.status, finished.reply_channel) == ("canceled", "web-1")
    assert rows.status(prediction_id) == "canceled"


def test_the_result_of_a_row_that_was_cancelled_while_it_ran_is_dropped(rows: Rows) -> None:
    claim = rows.claim_one()
    ledger.cancel(rows.connection, claim.id)

    assert ledger.complete(rows.connection, [success(claim)]) == []
    assert (rows.status(claim.id), rows.get(claim.id).result) == ("canceled", None)


def test_a_finished_row_cannot_be_cancelled(rows: Rows) -> None:
    claim = rows.claim_one()
    ledger.complete(rows.connection, [success(claim)])

    assert ledger.cancel(rows.connection, claim.id) == []
    assert rows.status(claim.id) == "succeeded"


def test_cancelling_what_is_unknown_changes_nothing(connection: Connection) -> None:
    assert ledger.cancel(connection, uuid4()) == []


def test_a_queued_row_expires_when_its_deadline_is_over(rows: Rows) -> None:
    late = rows.add(deadline_ms=1000, reply_channel="web-1")
    rows.shift(late, "deadline_at", 0)

    [finished] = ledger.expire(rows.connection)

    assert (finished.event.id, finished.event.status, finished.reply_channel) == (str(late), "expired", "web-1")


def test_a_row_before_its_deadline_does_not_expire(rows: Rows) -> None:
    rows.add(deadline_ms=1000)
    rows.add()

    assert ledger.expire(rows.connection) == []


def test_a_row_that_runs_does_not_expire(rows: Rows) -> None:
    claim = rows.claim_one(deadline_ms=1000)
    rows.shift(claim.id, "deadline_at", -1)

    assert ledger.expire(rows.connection) == []


def test_who_missed_a_notification_reads_which_rows_are_terminal(rows: Rows) -> None:
    claim, waiting = rows.claim_one(), rows.add()
    ledger.complete(rows.connection, [success(claim)])

    found = ledger.finished_among(rows.connection, [claim.id, waiting, uuid4()])

    assert [each.event.id for each in found] == [str(claim.id)]


def test_a_row_that_waits_longer_than_it_should_is_stranded(rows: Rows) -> None:
    stranded = rows.add()
    rows.shift(stranded, "run_after", -2)
    rows.add()

    assert ledger.stranded(rows.connection, older_than_s=1) == [("xor", rows.version.number, [str(stranded)])]


def test_a_row_past_its_deadline_is_not_stranded(rows: Rows) -> None:
    late = rows.add(deadline_ms=1000)
    rows.shift(late, "run_after", -2)
    rows.shift(late, "deadline_at", -1)

    assert ledger.stranded(rows.connection, older_than_s=1) == []


def _lose_worker(rows: Rows) -> None:
    """End the worker that claims by default, as the reaper does when its lease ran out."""
    rows.shift_lease(rows.worker_id, -1)
    ledger.reap(rows.connection)


def test_after_a_time_in_which_nobody_reaped_no_lease_expires_at_once(rows: Rows) -> None:
    claim = rows.claim_one()
    rows.shift_lease(rows.worker_id, -1)
    _reaped(rows, ago_s=ledger.REAPING_GAP_S + 1)

    assert ledger.reap(rows.connection).queued == 0
    assert rows.status(claim.id) == "processing"


def test_after_such_a_time_no_claim_counts_as_hung_at_once(rows: Rows) -> None:
    claim = rows.claim_one()
    rows.shift(claim.id, "attempt_deadline_at", -1)
    _reaped(rows, ago_s=ledger.REAPING_GAP_S + 1)

    assert ledger.reap(rows.connection).queued == 0


def test_a_worker_that_did_not_renew_in_the_time_given_loses_its_rows(rows: Rows) -> None:
    claim = rows.claim_one()
    rows.shift_lease(rows.worker_id, -1)
    _reaped(rows, ago_s=ledger.REAPING_GAP_S + 1)
    ledger.reap(rows.connection)
    rows.connection.execute(text("UPDATE reaper_runs SET lenient_until = now()"))

    assert ledger.reap(rows.connection).queued == 1
    assert rows.status(claim.id) == "queued"


def test_where_somebody_reaped_a_moment_ago_leases_expire(rows: Rows) -> None:
    rows.claim_one()
    rows.shift_lease(rows.worker_id, -1)
    _reaped(rows, ago_s=1)

    assert ledger.reap(rows.connection).queued == 1


def test_what_a_dead_process_held_is_taken_back_whenever_postgres_came_back(rows: Rows) -> None:
    rows.claim_one()
    _reaped(rows, ago_s=60)

    assert ledger.release_dead_worker(rows.connection, host=HOST, pid=1).queued == 1


def test_a_life_that_ends_by_itself_blames_no_row(rows: Rows) -> None:
    claim = rows.claim_one()

    assert ledger.end_life(rows.connection, rows.worker_id, StopReason.DEVICE_LOST) == 1

    row = rows.get(claim.id)
    assert (row.status, row.attempt, row.crash_count) == ("queued", 0, 0)


def test_a_life_that_was_ended_by_others_gives_nothing_back(rows: Rows) -> None:
    claim = rows.claim_one()
    rows.connection.execute(text("UPDATE workers SET stopped_at = now()"))

    assert ledger.end_life(rows.connection, rows.worker_id, StopReason.DRAINED) == 0
    assert rows.status(claim.id) == "processing"


def test_a_result_of_before_its_life_ended_is_fenced(rows: Rows) -> None:
    claim = rows.claim_one()
    ledger.end_life(rows.connection, rows.worker_id, StopReason.SELF_FENCED)

    assert ledger.complete(rows.connection, [success(claim)]) == []


def _reaped(rows: Rows, *, ago_s: float) -> None:
    """Let the last reaping be so many seconds ago."""
    ledger.note_reaping(rows.connection)
    rows.connection.execute(text("UPDATE reaper_runs SET ran_at = now() - :ago * interval '1 second'"), {"ago": ago_s})
