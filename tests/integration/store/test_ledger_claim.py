"""`store.ledger.claim`: which rows, in which order, and never to two workers."""

from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from schemas.enums import Priority
from store import ledger
from store.ledger_rows import ClaimRule
from tests.factories import OTHER_TENANT, VECTOR_CONFIG, Rows, add_model, autocommit, success


def test_nothing_queued_is_nothing_claimed(rows: Rows) -> None:
    assert rows.claim() == []


def test_a_claimed_row_is_processing_under_the_claim(rows: Rows) -> None:
    prediction_id = rows.add()

    [claim] = rows.claim()

    row = rows.get(prediction_id)
    assert (row.status, row.attempt, row.fence) == ("processing", 1, claim.fence)
    assert (row.worker_id, row.device) == (rows.worker_id, "cpu:0")


def test_a_claim_has_a_budget_after_which_it_counts_as_hung(rows: Rows) -> None:
    row = rows.get(rows.claim_one().id)

    assert (row.attempt_deadline_at - row.started_at).total_seconds() == ledger.ATTEMPT_BUDGET_S


def test_a_claim_carries_the_input(rows: Rows) -> None:
    claim = rows.claim_one(input=[0.25, 1])

    assert (claim.input, claim.input_sha256) == ([0.25, 1], None)


def test_a_claim_carries_the_hash_of_a_stored_input(rows: Rows) -> None:
    claim = rows.claim_one(input=None, input_sha256="ab" * 32)

    assert (claim.input, claim.input_sha256) == (None, "ab" * 32)


def test_a_claimed_row_is_not_claimed_again(rows: Rows) -> None:
    rows.claim_one()

    assert rows.claim() == []


def test_the_limit_bounds_a_claim(rows: Rows) -> None:
    rows.add_many(5)

    assert [len(rows.claim(limit=3)), len(rows.claim(limit=3))] == [3, 2]


def test_the_cost_bounds_a_claim(rows: Rows) -> None:
    ids = [rows.add(input_bytes=size) for size in (40, 50, 20, 100)]

    claims = [[claim.id for claim in rows.claim(max_cost=100)] for _ in range(4)]

    assert claims == [ids[:2], [ids[2]], [ids[3]], []]


def test_a_row_that_costs_more_than_the_bound_is_claimed_alone(rows: Rows) -> None:
    large, small = (rows.add(input_bytes=size) for size in (1_000, 1))

    assert [[claim.id for claim in rows.claim(max_cost=10)] for _ in range(2)] == [[large], [small]]


def test_a_version_may_bound_the_cost_itself(rows: Rows, session: Session) -> None:
    own = Rows(rows.connection, add_model(session, "own", max_batch_cost=100))
    own.add_many(3, input_bytes=60)

    assert len(own.claim(max_cost=10**9)) == 1


def test_rows_beyond_the_cost_are_left_as_they_were(rows: Rows) -> None:
    _, left = rows.add_many(2, input_bytes=60)

    rows.claim(max_cost=100)

    row = rows.get(left)
    assert (row.status, row.attempt, row.fence) == ("queued", 0, None)


def test_a_version_that_is_skipped_is_left_for_later(rows: Rows, session: Session) -> None:
    other = Rows(rows.connection, add_model(session, "other"))
    skipped, claimed = rows.add(), other.add()

    assert [claim.id for claim in rows.claim(skip=[rows.version.model_version_id])] == [claimed]
    assert [claim.id for claim in rows.claim()] == [skipped]


def test_rows_of_one_priority_go_by_age(rows: Rows) -> None:
    ids = [rows.add() for _ in range(3)]

    assert [claim.id for claim in rows.claim()] == ids


def test_the_urgent_goes_first(rows: Rows) -> None:
    ids = {priority: rows.add(priority=priority) for priority in (Priority.BULK, Priority.NORMAL, Priority.INTERACTIVE)}

    assert _claim_each(rows) == [ids[Priority.INTERACTIVE], ids[Priority.NORMAL], ids[Priority.BULK]]


def test_a_bulk_row_that_waited_long_goes_before_a_young_interactive_one(rows: Rows) -> None:
    young, old = rows.add(priority=Priority.INTERACTIVE), rows.add(priority=Priority.BULK)
    rows.shift(old, "claim_order", -1)

    assert _claim_each(rows) == [old, young]


def test_a_row_that_lags_behind_its_time_goes_behind_others(rows: Rows) -> None:
    lagging, prompt = rows.add(lag_s=5.0), rows.add()

    assert _claim_each(rows) == [prompt, lagging]


def test_a_tenant_that_sent_much_does_not_keep_another_waiting(rows: Rows) -> None:
    for number in range(20):
        rows.add(lag_s=0.1 * number)
    quiet = rows.add(api_key_id=OTHER_TENANT)

    assert _claim_each(rows).index(quiet) == 1


def test_a_claim_tells_how_long_its_deadline_is_away(rows: Rows) -> None:
    assert rows.claim_one(deadline_ms=1500).left_s == 1.5


def test_without_a_deadline_there_is_all_the_time(rows: Rows) -> None:
    assert rows.claim_one().left_s is None


def test_a_claim_is_of_one_version(rows: Rows, session: Session) -> None:
    other = Rows(rows.connection, add_model(session, "other"))
    first, foreign, second = rows.add(), other.add(), rows.add()

    assert [[claim.id for claim in rows.claim()] for _ in range(2)] == [[first, second], [foreign]]


def test_a_claim_is_of_the_most_urgent_rows_version(rows: Rows, session: Session) -> None:
    other = Rows(rows.connection, add_model(session, "other"))
    rows.add()
    urgent = other.add(priority=Priority.INTERACTIVE)

    assert [claim.id for claim in rows.claim()] == [urgent]


def test_a_claim_names_its_version(rows: Rows) -> None:
    assert rows.claim_one().model_version_id == rows.version.model_version_id


def test_the_versions_largest_batch_bounds_a_claim(rows: Rows, session: Session) -> None:
    small = Rows(rows.connection, add_model(session, "small", max_batch=3))
    small.add_many(5)

    assert len(small.claim(limit=100)) == 3


def test_a_version_that_names_no_largest_batch_is_bounded_by_the_limit(rows: Rows, session: Session) -> None:
    config = {name: value for name, value in VECTOR_CONFIG.items() if name != "max_batch"}
    unbounded = Rows(rows.connection, add_model(session, "unbounded", config=config))
    unbounded.add_many(5)

    assert len(unbounded.claim(limit=4)) == 4


def test_a_row_past_its_deadline_is_passed_over(rows: Rows) -> None:
    late, live = rows.add(deadline_ms=1000), rows.add(deadline_ms=1000)
    rows.shift(late, "deadline_at", 0)

    assert [claim.id for claim in rows.claim()] == [live]


def test_a_cancelled_row_is_passed_over(rows: Rows) -> None:
    ledger.cancel(rows.connection, rows.add())

    assert rows.claim() == []


def test_a_row_is_not_claimed_before_its_time(rows: Rows) -> None:
    early = rows.add()
    rows.shift(early, "run_after", 1)

    assert rows.claim() == []


def test_a_row_that_was_in_a_crash_runs_alone(rows: Rows) -> None:
    suspect, *_healthy = rows.add_many(3)
    _blame(rows, suspect)

    assert [len(rows.claim()) for _ in range(2)] == [1, 2]
    assert rows.status(suspect) == "processing"


def test_a_healthy_batch_leaves_a_suspect_row_behind(rows: Rows) -> None:
    healthy, suspect, other = (rows.add() for _ in range(3))
    _blame(rows, suspect)

    assert [[claim.id for claim in rows.claim()] for _ in range(2)] == [[healthy, other], [suspect]]


def test_what_is_given_back_is_found_before_the_queue_is_called_empty(database: Engine, committed: Rows) -> None:
    old = committed.add()
    committed.shift(old, "claim_order", -60)
    with autocommit(database) as other:
        [held] = ledger.claim(other, worker_id=committed.worker(pid=2), device="cpu:1", limit=1)
        committed.add()
        # Of the queue this connection has read by now that nobody has waited for longer than a moment.
        assert len(committed.claim()) == 1
        ledger.release(other, [held], keep_attempt=True)

    assert [claim.id for claim in committed.claim()] == [old]


def test_what_is_given_back_while_others_wait_goes_first_once_the_queue_is_read_anew(
    database: Engine, committed: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = committed.add()
    committed.shift(old, "claim_order", -60)
    with autocommit(database) as other:
        [held] = ledger.claim(other, worker_id=committed.worker(pid=2), device="cpu:1", limit=1)
        young = committed.add_many(2)
        committed.claim(limit=1)
        ledger.release(other, [held], keep_attempt=True)
    monkeypatch.setattr("store.queue_span.REFRESH_S", 0.0)

    assert [claim.id for claim in committed.claim(limit=1)] == [old]
    assert [claim.id for claim in committed.claim()] == young[1:]


def test_the_fence_rises_within_a_claim_and_with_every_claim(rows: Rows) -> None:
    rows.add_many(6)

    fences = [claim.fence for _ in range(2) for claim in rows.claim(limit=3)]

    assert len(set(fences)) == 6
    assert max(fences[:3]) < min(fences[3:])


def test_a_row_that_is_claimed_again_gets_a_higher_fence(rows: Rows) -> None:
    first = rows.claim_one()
    ledger.release(rows.connection, [first], keep_attempt=True)

    [second] = rows.claim()

    assert second.fence > first.fence


def test_two_open_transactions_never_claim_the_same_row(database: Engine, committed: Rows) -> None:
    ids = committed.add_many(4)
    with database.connect() as one, database.connect() as two:
        first = Rows(one, committed.version).claim(limit=2, worker_id=1)
        second = Rows(two, committed.version).claim(limit=4, worker_id=2)

    assert [claim.id for claim in first + second] == ids


def test_four_claimers_take_each_row_exactly_once(database: Engine, committed: Rows) -> None:
    ids = [each for _ in range(10) for each in committed.add_many(40)]

    def claim_all(worker_id: int) -> list[UUID]:
        taken: list[UUID] = []
        with autocommit(database) as connection:
            while claims := ledger.claim(connection, worker_id=worker_id, device="cpu:0", limit=7):
                ledger.complete(connection, [success(claim) for claim in claims])
                taken += [claim.id for claim in claims]
        return taken

    with ThreadPoolExecutor(4) as pool:
        taken = [each for batch in pool.map(claim_all, range(1, 5)) for each in batch]

    assert sorted(taken) == sorted(ids)
    assert set(committed.statuses(ids)) == {"succeeded"}


def _claim_each(rows: Rows) -> list[UUID]:
    return [claim.id for _ in range(3) for claim in rows.claim(limit=1)]


def _blame(rows: Rows, prediction_id: UUID) -> None:
    rows.connection.execute(text("UPDATE predictions SET crash_count = 1 WHERE id = :id"), {"id": prediction_id})


def test_a_slower_worker_leaves_the_first_rows_to_faster_ones(rows: Rows) -> None:
    ids = rows.add_many(5)

    assert [claim.id for claim in rows.claim(rules=[_rule(rows, skip=3)])] == ids[3:]


def test_a_slower_worker_claims_nothing_where_faster_ones_are_soon_there(rows: Rows) -> None:
    rows.add_many(3)

    assert rows.claim(rules=[_rule(rows, skip=3)]) == []


def test_a_rule_bounds_a_claim(rows: Rows) -> None:
    rows.add_many(5)

    assert len(rows.claim(rules=[_rule(rows, skip=1, most=2)])) == 2


def test_no_row_is_left_once_the_first_has_waited_too_long(rows: Rows) -> None:
    ids = rows.add_many(2)

    assert [claim.id for claim in rows.claim(rules=[_rule(rows, skip=10, patience=0.0)])] == ids


def test_a_rule_leaves_other_versions_alone(rows: Rows, session: Session) -> None:
    other = Rows(rows.connection, add_model(session, "other"))
    rows.add()
    prediction_id = other.add()

    assert [claim.id for claim in rows.claim(rules=[_rule(rows, skip=10)])] == [prediction_id]


def test_the_most_urgent_row_beyond_all_rules_is_claimed_first(rows: Rows, session: Session) -> None:
    other = Rows(rows.connection, add_model(session, "other"))
    first = rows.add_many(2)[1]
    other.add()

    [claim] = rows.claim(rules=[_rule(rows, skip=1)])

    assert claim.id == first


def test_behind_faster_workers_a_row_that_was_in_a_crash_is_still_taken_alone(rows: Rows) -> None:
    rows.add_many(2)
    rows.connection.execute(text("UPDATE predictions SET crash_count = 1"))

    assert len(rows.claim(rules=[_rule(rows, skip=0)])) == 1


def _rule(rows: Rows, *, skip: int, patience: float = 60.0, most: int = 100) -> ClaimRule:
    return ClaimRule(version=rows.version.model_version_id, skip=skip, patience=patience, most=most)
