"""What happens is written down for whoever wants to hear of it, by the very statement that makes it happen."""

from collections.abc import Callable
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Connection, Engine, text
from sqlalchemy.orm import Session

from schemas.enums import FeedbackChoice, IndexAction, TrainingErrorCode, TrainingTrigger, WebhookEvent
from schemas.training_options import TrainingOptions
from store import ledger, training_ledger
from store.ledger import MAX_ATTEMPTS, MAX_CRASHES
from store.ledger_rows import Answer, Claim
from store.trainings import request_training
from tests.factories import HOST, Rows, add_model, failure, make_champion, submission, success
from tests.webhooks import EVERY_END, Hooks


@pytest.fixture
def hooks(connection: Connection) -> Hooks:
    return Hooks(connection)


@pytest.fixture
def claim(rows: Rows, hooks: Hooks) -> Callable[..., Claim]:
    """Claim a new row of the key."""
    return lambda **changes: rows.claim_one(api_key_id=hooks.api_key_id, **changes)


def told(hooks: Hooks) -> list[tuple[str, str]]:
    """What is to be sent: subjects and events."""
    return [(row.subject_id, row.event) for row in hooks.written()]


def test_an_answer_is_told_with_ids_and_a_status_alone(rows: Rows, hooks: Hooks, claim: Callable[..., Claim]) -> None:
    hooks.add(*EVERY_END)
    held = claim()

    ledger.complete(rows.connection, [success(held)])

    [row] = hooks.written()
    assert (row.event, row.state, row.attempts) == ("prediction.succeeded", "pending", 0)
    assert row.payload["type"] == "prediction.succeeded"
    assert row.payload["data"] == {
        "id": str(held.id),
        "status": "succeeded",
        "error_code": None,
        "model": "xor",
        "version": 1,
    }


def test_a_failure_is_told_with_its_code(rows: Rows, hooks: Hooks, claim: Callable[..., Claim]) -> None:
    hooks.add(WebhookEvent.PREDICTION_FAILED)

    ledger.complete(rows.connection, [failure(claim())])

    assert hooks.written()[0].payload["data"]["error_code"] == "internal"


def _cancel(rows: Rows, claim: Claim) -> None:
    ledger.cancel(rows.connection, claim.id)


def _cancel_all(rows: Rows, claim: Claim) -> None:
    ledger.cancel_all(rows.connection, [claim.id])


def _use_up_attempts(rows: Rows, claim: Claim) -> None:
    rows.connection.execute(text(f"UPDATE predictions SET attempt = {MAX_ATTEMPTS} WHERE id = '{claim.id}'"))
    ledger.release(rows.connection, [claim], keep_attempt=False)


def _crash_too_often(rows: Rows, claim: Claim) -> None:
    rows.connection.execute(text(f"UPDATE predictions SET crash_count = {MAX_CRASHES - 1} WHERE id = '{claim.id}'"))
    ledger.release_dead_worker(rows.connection, host=HOST, pid=1)


@pytest.mark.parametrize(
    ("end", "event"),
    [
        (_cancel, "prediction.canceled"),
        (_cancel_all, "prediction.canceled"),
        (_use_up_attempts, "prediction.failed"),
        (_crash_too_often, "prediction.failed"),
    ],
)
def test_every_way_out_of_processing_is_told(
    rows: Rows, hooks: Hooks, claim: Callable[..., Claim], end: Callable[[Rows, Claim], None], event: str
) -> None:
    hooks.add(*EVERY_END)
    held = claim()

    end(rows, held)

    assert told(hooks) == [(str(held.id), event)]


def test_an_expiry_is_told(rows: Rows, hooks: Hooks) -> None:
    hooks.add(*EVERY_END)
    waiting = rows.add(api_key_id=hooks.api_key_id, deadline_ms=1000)
    rows.shift(waiting, "deadline_at", -1)

    ledger.expire(rows.connection)

    assert told(hooks) == [(str(waiting), "prediction.expired")]


@pytest.mark.parametrize(
    "changes", [{}, {"idempotency_key": "order-7", "request_sha256": "00"}, {"catalog": "shop", "external_id": "42"}]
)
def test_an_answer_that_is_stored_with_its_request_is_told(rows: Rows, hooks: Hooks, changes: dict[str, str]) -> None:
    hooks.add(*EVERY_END)
    asked = submission(rows.version, api_key_id=hooks.api_key_id, **changes)

    ledger.record(rows.connection, [(asked, Answer(elapsed_ms=1.0, result={"label": "1"}, cached=True))])

    assert told(hooks) == [(str(asked.id), "prediction.succeeded")]


def test_a_row_that_only_goes_back_to_the_queue_tells_nothing(
    rows: Rows, hooks: Hooks, claim: Callable[..., Claim]
) -> None:
    hooks.add(*EVERY_END)

    ledger.release(rows.connection, [claim()], keep_attempt=True)

    assert told(hooks) == []


def test_a_result_that_was_fenced_tells_nothing(rows: Rows, hooks: Hooks, claim: Callable[..., Claim]) -> None:
    hooks.add(*EVERY_END)
    held = claim()
    ledger.cancel(rows.connection, held.id)

    ledger.complete(rows.connection, [success(held)])

    assert told(hooks) == [(str(held.id), "prediction.canceled")]


def test_an_end_that_is_rolled_back_leaves_nothing_to_tell(
    rows: Rows, hooks: Hooks, claim: Callable[..., Claim]
) -> None:
    hooks.add(*EVERY_END)
    held = claim()
    savepoint = rows.connection.begin_nested()
    ledger.complete(rows.connection, [success(held)])

    savepoint.rollback()

    assert told(hooks) == []


def test_each_endpoint_that_wants_it_gets_one(rows: Rows, hooks: Hooks, claim: Callable[..., Claim]) -> None:
    wanting = {hooks.add(*EVERY_END), hooks.add(WebhookEvent.PREDICTION_SUCCEEDED)}
    hooks.add(WebhookEvent.PREDICTION_FAILED)

    ledger.complete(rows.connection, [success(claim())])

    assert {row.endpoint_id for row in hooks.written()} == wanting


def test_an_endpoint_that_a_request_names_is_told_whatever_it_wants(rows: Rows, hooks: Hooks) -> None:
    named = hooks.add()
    hooks.add()
    held = rows.claim_one(api_key_id=hooks.api_key_id, webhook_id=named)

    ledger.complete(rows.connection, [success(held)])

    assert [row.endpoint_id for row in hooks.written()] == [named]


def test_naming_an_endpoint_that_wants_it_anyway_tells_it_once(rows: Rows, hooks: Hooks) -> None:
    named = hooks.add(*EVERY_END)

    ledger.complete(rows.connection, [success(rows.claim_one(api_key_id=hooks.api_key_id, webhook_id=named))])

    assert len(hooks.written()) == 1


def test_another_keys_endpoint_is_told_nothing_even_when_it_is_named(rows: Rows, connection: Connection) -> None:
    stranger, owner = Hooks(connection), Hooks(connection)
    named = stranger.add(*EVERY_END)

    ledger.complete(rows.connection, [success(rows.claim_one(api_key_id=owner.api_key_id, webhook_id=named))])

    assert told(stranger) == []


def test_a_key_without_endpoints_is_not_even_looked_after(rows: Rows, hooks: Hooks) -> None:
    assert rows.get(rows.add(api_key_id=hooks.api_key_id)).notify is None


def test_what_answers_nobody_tells_nobody(rows: Rows, hooks: Hooks) -> None:
    hooks.add(*EVERY_END)
    of_the_key = {"api_key_id": hooks.api_key_id}

    silent = [
        rows.add(shadow_of=uuid4(), **of_the_key),
        rows.add(backtest_id=1, **of_the_key),
        rows.add(index_action=IndexAction.REFRESH, **of_the_key),
    ]

    assert [rows.get(each).notify for each in silent] == [None] * 3


def test_a_paused_endpoint_is_still_written_to(rows: Rows, hooks: Hooks, claim: Callable[..., Claim]) -> None:
    hooks.set(hooks.add(*EVERY_END), state="'paused'", pause_reason="'a test'")

    ledger.complete(rows.connection, [success(claim())])

    assert len(hooks.written()) == 1


@pytest.mark.parametrize("change", ["revoked_at = now()", "expires_at = now() - interval '1 second'"])
def test_a_key_that_may_no_longer_call_hears_nothing(
    rows: Rows, hooks: Hooks, claim: Callable[..., Claim], change: str
) -> None:
    hooks.add(*EVERY_END)
    held = claim()
    rows.connection.execute(text(f"UPDATE api_keys SET {change} WHERE id = {hooks.api_key_id}"))

    ledger.complete(rows.connection, [success(held)])

    assert told(hooks) == []


def test_a_deleted_endpoint_is_told_nothing(rows: Rows, hooks: Hooks, claim: Callable[..., Claim]) -> None:
    endpoint = hooks.add(*EVERY_END)
    held = claim()
    hooks.set(endpoint, deleted_at="now()")

    ledger.complete(rows.connection, [success(held)])

    assert told(hooks) == []


NO_FEEDBACK = TrainingOptions(feedback=FeedbackChoice.NONE)


def _train(session: Session, rows: Rows, end: Callable[[training_ledger.TrainingClaim], object]) -> UUID:
    training = request_training(session, name="xor", options=NO_FEEDBACK, trigger=TrainingTrigger.API, actor="tests")
    session.flush()
    claim = training_ledger.claim_training(rows.connection, worker_id=rows.worker_id, device="cpu:0", only=training.id)
    assert claim is not None
    end(claim)
    return training.id


def test_the_end_of_a_training_is_told(session: Session, rows: Rows, hooks: Hooks) -> None:
    hooks.add(WebhookEvent.TRAINING_SUCCEEDED)
    version_id = rows.version.model_version_id

    ended = _train(
        session,
        rows,
        lambda claim: training_ledger.succeed(rows.connection, claim, version_id=version_id, metrics={}),
    )

    [row] = hooks.written()
    assert (row.event, row.subject_id) == ("training.succeeded", str(ended))
    assert row.payload["data"] == {
        "id": str(ended),
        "status": "succeeded",
        "error_code": None,
        "model": "xor",
        "version": 1,
    }


def test_a_training_that_fails_is_told_with_its_code(session: Session, rows: Rows, hooks: Hooks) -> None:
    hooks.add(WebhookEvent.TRAINING_FAILED)

    _train(
        session,
        rows,
        lambda claim: training_ledger.fail(rows.connection, claim, code=TrainingErrorCode.DIVERGED, detail="it broke"),
    )

    assert hooks.written()[0].payload["data"]["error_code"] == "diverged"


def test_a_training_that_is_cancelled_is_told(session: Session, rows: Rows, hooks: Hooks) -> None:
    hooks.add(WebhookEvent.TRAINING_CANCELED)

    ended = _train(session, rows, lambda claim: training_ledger.cancel(rows.connection, claim.id))

    assert told(hooks) == [(str(ended), "training.canceled")]


def test_every_promotion_is_told_however_often_a_version_is_promoted(
    session: Session, connection: Connection, hooks: Hooks
) -> None:
    add_model(session, "hooked")
    hooks.add(WebhookEvent.VERSION_PROMOTED)
    add_model(session, "hooked", number=2)

    make_champion(session, "hooked", 1)
    make_champion(session, "hooked", 2)

    told_of = [row.payload["data"] for row in Hooks.written(hooks)]
    assert [(each["version"], each["previous_version"]) for each in told_of] == [(2, 1), (1, 2), (2, 1)]
    assert len({each["id"] for each in told_of}) == 3
    assert connection.in_transaction()


def test_a_process_that_dies_before_its_commit_leaves_neither_end_nor_delivery(
    committed: Rows, database: Engine
) -> None:
    hooks = Hooks(committed.connection)
    hooks.add(*EVERY_END)
    held = committed.claim_one(api_key_id=hooks.api_key_id)

    with database.connect() as dying:
        dying.begin()
        ledger.complete(dying, [success(held)])
        backend = dying.execute(text("SELECT pg_backend_pid()")).scalar_one()
        committed.connection.execute(text(f"SELECT pg_terminate_backend({backend})"))
        dying.invalidate()

    assert (committed.status(held.id), told(hooks)) == ("processing", [])
