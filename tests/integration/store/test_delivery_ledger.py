"""`store.delivery_ledger`: who gets which delivery, and what becomes of it and of its endpoint."""

from collections.abc import Callable
from uuid import UUID

import pytest
from sqlalchemy import Connection, text

from schemas.enums import DeliveryState
from store import delivery_ledger as ledger
from store.delivery_ledger import MAX_CRASHES, PER_ENDPOINT, BreakerRule, DeliveryClaim, DeliveryOutcome
from tests.webhooks import Hooks

RULE = BreakerRule()

Claiming = Callable[..., list[DeliveryClaim]]


@pytest.fixture
def hooks(connection: Connection) -> Hooks:
    return Hooks(connection)


@pytest.fixture
def worker_id(hooks: Hooks) -> int:
    return hooks.sender()


@pytest.fixture
def claim(hooks: Hooks, worker_id: int) -> Claiming:
    """Claim what is due."""

    def claiming(limit: int = 100, failing_limit: int = 100) -> list[DeliveryClaim]:
        return ledger.claim_deliveries(hooks.connection, worker_id=worker_id, limit=limit, failing_limit=failing_limit)

    return claiming


def arrived(claim: DeliveryClaim) -> DeliveryOutcome:
    return DeliveryOutcome(
        claim=claim, state=DeliveryState.DELIVERED, duration_ms=1.5, status_code=204, response="thanks"
    )


def failed(claim: DeliveryClaim, **changes: object) -> DeliveryOutcome:
    values: dict[str, object] = {"state": DeliveryState.PENDING, "delay_s": 5.0, "error": "no answer"}
    return DeliveryOutcome(claim=claim, duration_ms=1.5, **(values | changes))  # type: ignore[arg-type]


def record(hooks: Hooks, *outcomes: DeliveryOutcome, rule: BreakerRule = RULE) -> int:
    return ledger.record_outcomes(hooks.connection, outcomes, rule)


def subjects(hooks: Hooks, claims: list[DeliveryClaim]) -> list[str]:
    return sorted(hooks.get(each.id).subject_id for each in claims)


def test_a_claim_carries_what_sending_takes(hooks: Hooks, claim: Claiming) -> None:
    endpoint = hooks.add()
    [delivery] = hooks.write(endpoint, "a")

    [taken] = claim()

    assert (taken.id, taken.endpoint_id, taken.url) == (delivery, endpoint, "https://shop.example.com/hooks")
    assert (taken.body, taken.failures, taken.previous_secret) == ('{"type": "prediction.succeeded"}', 0, None)


def test_an_attempt_is_noted_before_it_begins(hooks: Hooks, claim: Claiming) -> None:
    [delivery] = hooks.write(hooks.add(), "a")

    [taken] = claim()

    [attempt] = hooks.attempts(delivery)
    assert (attempt.number, attempt.fence, attempt.duration_ms) == (1, taken.fence, None)


def test_what_is_held_is_not_claimed_again(hooks: Hooks, claim: Claiming) -> None:
    hooks.write(hooks.add(), "a")
    claim()

    assert claim() == []


def test_what_is_not_due_waits(hooks: Hooks, claim: Claiming) -> None:
    [delivery] = hooks.write(hooks.add(), "a")
    hooks.connection.execute(text("UPDATE webhook_deliveries SET next_attempt_at = now() + interval '1 second'"))

    assert claim() == []
    assert hooks.get(delivery).state == "pending"


@pytest.mark.parametrize(
    "values",
    [
        {"state": "'paused'", "pause_reason": "'a test'"},
        {"deleted_at": "now()"},
        {"resting_until": "now() + interval '1 s'"},
    ],
)
def test_nothing_is_sent_to_an_endpoint_that_is_left_alone(
    hooks: Hooks, claim: Claiming, values: dict[str, str]
) -> None:
    endpoint = hooks.add()
    hooks.write(endpoint, "a")
    hooks.set(endpoint, **values)

    assert claim() == []


def test_one_endpoint_is_sent_a_few_at_once(hooks: Hooks, claim: Claiming) -> None:
    hooks.write(hooks.add(), *map(str, range(PER_ENDPOINT + 3)))

    assert [len(claim()), len(claim())] == [PER_ENDPOINT, 0]


def test_an_endpoint_that_fails_is_asked_one_at_a_time(hooks: Hooks, claim: Claiming) -> None:
    endpoint = hooks.add()
    hooks.write(endpoint, "a", "b")
    hooks.set(endpoint, failures="1")

    [taken] = claim()

    assert taken.is_failing


def test_endpoints_take_turns(hooks: Hooks, claim: Claiming) -> None:
    hooks.write(hooks.add(), "a1", "a2", "a3")
    hooks.write(hooks.add(), "b1", "b2", "b3")

    assert {each[0] for each in subjects(hooks, claim(limit=2))} == {"a", "b"}


def test_endpoints_that_fail_get_a_share_of_the_senders_only(hooks: Hooks, claim: Claiming) -> None:
    for name in "abc":
        endpoint = hooks.add()
        hooks.write(endpoint, name)
        hooks.set(endpoint, failures="3")
    hooks.write(hooks.add(), "healthy")

    taken = claim(failing_limit=1)

    assert sorted(each.is_failing for each in taken) == [False, True]


def test_an_arrival_ends_a_delivery(hooks: Hooks, claim: Claiming) -> None:
    endpoint = hooks.add()
    [delivery] = hooks.write(endpoint, "a")

    assert record(hooks, *map(arrived, claim())) == 1

    row = hooks.get(delivery)
    assert (row.state, row.attempts, row.failures) == ("delivered", 1, 0)
    assert row.finished_at is not None
    assert hooks.endpoint(endpoint).delivered_count == 1


def test_an_attempt_keeps_what_was_answered(hooks: Hooks, claim: Claiming) -> None:
    [delivery] = hooks.write(hooks.add(), "a")

    record(hooks, *map(arrived, claim()))

    [attempt] = hooks.attempts(delivery)
    assert (attempt.status_code, attempt.error, attempt.response, attempt.duration_ms) == (204, None, "thanks", 1.5)


def test_a_failure_waits_for_its_next_attempt(hooks: Hooks, claim: Claiming) -> None:
    endpoint = hooks.add()
    [delivery] = hooks.write(endpoint, "a")

    record(hooks, *map(failed, claim()))

    row = hooks.get(delivery)
    assert (row.state, row.failures, row.finished_at) == ("pending", 1, None)
    assert (row.next_attempt_at - row.created_at).total_seconds() == 5.0
    assert hooks.endpoint(endpoint).failed_count == 1


def test_the_last_failure_gives_a_delivery_up(hooks: Hooks, claim: Claiming) -> None:
    endpoint = hooks.add()
    [delivery] = hooks.write(endpoint, "a")

    [taken] = claim()
    record(hooks, failed(taken, state=DeliveryState.DEAD, delay_s=None))

    assert hooks.get(delivery).state == "dead"
    assert hooks.endpoint(endpoint).dead_count == 1


def test_a_stale_outcome_is_noted_and_moves_nothing(hooks: Hooks, claim: Claiming, worker_id: int) -> None:
    [delivery] = hooks.write(hooks.add(), "a")
    [stale] = claim()
    end(hooks, worker_id)
    ledger.take_back(hooks.connection)

    assert record(hooks, arrived(stale)) == 0

    assert hooks.get(delivery).state == "pending"
    assert hooks.attempts(delivery)[0].status_code == 204


def test_what_a_dead_sender_held_is_sent_again_under_the_same_id(hooks: Hooks, claim: Claiming, worker_id: int) -> None:
    [delivery] = hooks.write(hooks.add(), "a")
    claim()
    end(hooks, worker_id)

    assert ledger.take_back(hooks.connection) == 1

    [again] = claim()
    assert again.id == delivery
    first, second = hooks.attempts(delivery)
    assert "died before it knew" in first.error
    assert second.number == 2


def test_what_a_living_sender_holds_is_left_to_it(hooks: Hooks, claim: Claiming) -> None:
    hooks.write(hooks.add(), "a")
    claim()

    assert ledger.take_back(hooks.connection) == 0


def test_a_claim_that_hangs_is_taken_back(hooks: Hooks, claim: Claiming) -> None:
    hooks.write(hooks.add(), "a")
    claim()
    hooks.connection.execute(text("UPDATE webhook_deliveries SET attempt_deadline_at = now() - interval '1 s'"))

    assert ledger.take_back(hooks.connection) == 1


def test_a_delivery_that_keeps_killing_its_sender_is_given_up(hooks: Hooks, claim: Claiming, worker_id: int) -> None:
    [delivery] = hooks.write(hooks.add(), "a")
    claim()
    hooks.connection.execute(text(f"UPDATE webhook_deliveries SET crash_count = {MAX_CRASHES - 1}"))
    end(hooks, worker_id)

    ledger.take_back(hooks.connection)

    assert hooks.get(delivery).state == "dead"


def test_failures_in_a_row_open_the_breaker_for_longer_each_time(hooks: Hooks) -> None:
    endpoint = hooks.add()
    rests = []
    for failure in range(RULE.failures + 8):
        worker_id = hooks.sender(pid=failure)
        hooks.set(endpoint, resting_until="NULL")
        hooks.write(endpoint, str(failure))
        [taken] = ledger.claim_deliveries(hooks.connection, worker_id=worker_id, limit=1, failing_limit=1)
        record(hooks, failed(taken, delay_s=1000.0))
        row = hooks.endpoint(endpoint)
        rests.append(None if row.resting_until is None else (row.resting_until - row.failing_since).total_seconds())

    assert rests == [None] * 4 + [5, 10, 20, 40, 80, 160, 300, 300, 300]


def test_an_arrival_closes_the_breaker(hooks: Hooks, claim: Claiming) -> None:
    endpoint = hooks.add()
    hooks.write(endpoint, "a")
    hooks.set(endpoint, failures="7", failing_since="now()", resting_until="now() - interval '1 s'")

    record(hooks, *map(arrived, claim()))

    row = hooks.endpoint(endpoint)
    assert (row.failures, row.failing_since, row.resting_until) == (0, None, None)


def test_an_endpoint_that_asks_for_time_gets_it(hooks: Hooks, claim: Claiming) -> None:
    endpoint = hooks.add()
    hooks.write(endpoint, "a")

    [taken] = claim()
    record(hooks, failed(taken, rest_s=120.0))

    row = hooks.endpoint(endpoint)
    assert (row.resting_until - row.failing_since).total_seconds() == 120


def test_an_endpoint_that_is_gone_is_paused_with_the_reason(hooks: Hooks, claim: Claiming) -> None:
    endpoint = hooks.add()
    hooks.write(endpoint, "a")

    [taken] = claim()
    record(hooks, failed(taken, state=DeliveryState.DEAD, delay_s=None, is_gone=True))

    row = hooks.endpoint(endpoint)
    assert (row.state, row.pause_reason) == ("paused", "the endpoint answered 410 Gone")


@pytest.mark.parametrize(("days", "state"), [(4, "enabled"), (6, "paused")])
def test_days_of_failures_pause_an_endpoint(hooks: Hooks, claim: Claiming, days: int, state: str) -> None:
    endpoint = hooks.add()
    hooks.write(endpoint, "a")
    hooks.set(endpoint, failures="9", failing_since=f"now() - interval '{days} days'")

    record(hooks, *map(failed, claim()))

    row = hooks.endpoint(endpoint)
    assert row.state == state
    assert (row.pause_reason or "every attempt failed since").startswith("every attempt failed since")


def test_an_arrival_beside_failures_counts_for_the_endpoint(hooks: Hooks, claim: Claiming) -> None:
    endpoint = hooks.add()
    hooks.write(endpoint, "a", "b")
    one, other = claim()

    record(hooks, failed(one), arrived(other))

    row = hooks.endpoint(endpoint)
    assert (row.failures, row.delivered_count, row.failed_count) == (0, 1, 1)


def test_the_previous_secret_signs_until_its_time_is_over(hooks: Hooks, claim: Claiming) -> None:
    fresh, old = hooks.add(), hooks.add()
    hooks.set(fresh, previous_secret="'x'", previous_secret_until="now() + interval '1 h'")
    hooks.set(old, previous_secret="'x'", previous_secret_until="now() - interval '1 s'")
    hooks.write(fresh, "fresh")
    hooks.write(old, "old")

    found = {taken.endpoint_id: taken.previous_secret for taken in claim()}

    assert found == {fresh: b"x", old: None}


def test_what_ended_long_ago_is_forgotten_with_its_attempts(hooks: Hooks, claim: Claiming) -> None:
    [delivery, *_] = hooks.write(hooks.add(), "a", "b")
    record(hooks, *map(arrived, claim()))
    hooks.connection.execute(
        text("UPDATE webhook_deliveries SET finished_at = now() - interval '31 days' WHERE id = :id"),
        {"id": delivery},
    )

    ledger.purge(hooks.connection, older_than_days=30)

    assert [row.subject_id for row in hooks.written()] == ["b"]
    assert hooks.attempts(delivery) == []


def test_what_waits_is_kept_however_old(hooks: Hooks) -> None:
    hooks.write(hooks.add(), "a")
    hooks.connection.execute(text("UPDATE webhook_deliveries SET created_at = now() - interval '99 days'"))

    ledger.purge(hooks.connection, older_than_days=30)

    assert len(hooks.written()) == 1


def test_what_waits_for_a_paused_endpoint_is_forgotten_in_the_end(hooks: Hooks) -> None:
    endpoint = hooks.add()
    hooks.write(endpoint, "a")
    hooks.set(endpoint, state="'paused'", pause_reason="'a test'")
    hooks.connection.execute(text("UPDATE webhook_deliveries SET created_at = now() - interval '31 days'"))

    ledger.purge(hooks.connection, older_than_days=30)

    assert hooks.written() == []


def test_a_deleted_endpoint_goes_with_its_deliveries(hooks: Hooks) -> None:
    endpoint = hooks.add()
    hooks.write(endpoint, "a")
    hooks.set(endpoint, deleted_at="now() - interval '2 h'")

    ledger.purge(hooks.connection, older_than_days=30)
    ledger.purge(hooks.connection, older_than_days=30)

    left = hooks.connection.execute(text("SELECT count(*) FROM webhook_endpoints WHERE id = :id"), {"id": endpoint})
    assert left.scalar_one() == 0


def test_the_gauges_count_what_there_is_to_do(hooks: Hooks, claim: Claiming) -> None:
    before = ledger.read_gauges(hooks.connection)
    endpoint = hooks.add()
    hooks.write(endpoint, "a", "b")
    hooks.connection.execute(text("UPDATE webhook_deliveries SET created_at = now() - interval '1 hour'"))

    claim(limit=1)

    after = ledger.read_gauges(hooks.connection)
    assert (after.pending - before.pending, after.sending - before.sending) == (1, 1)
    assert after.oldest_s >= 3600


def end(hooks: Hooks, worker_id: int) -> None:
    """Let a worker's life be over."""
    hooks.connection.execute(text(f"UPDATE workers SET stopped_at = now() WHERE id = {worker_id}"))


def test_ids_of_deliveries_sort_by_time(hooks: Hooks) -> None:
    written: list[UUID] = []
    endpoint = hooks.add()
    for index in range(3):
        written += hooks.write(endpoint, str(index))
        hooks.connection.execute(text("SELECT pg_sleep(0.002)"))

    assert written == sorted(written)
    assert {each.version for each in written} == {7}
