"""`store.dead_letters`: what workers failed at, and asking it again."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from sqlalchemy import Engine as Database
from sqlalchemy import text
from uuid_utils.compat import uuid7

from store import ledger
from store.database import open_session
from store.dead_letters import DeadLetter, count_dead_letters, list_dead_letters, redrive, redrive_all
from tests.factories import HOST, OTHER_TENANT, TENANT, Rows, failure, success

PIDS = iter(range(1000, 1_000_000))


@pytest.fixture
def die(rows: Rows) -> Callable[..., UUID]:
    """Make a dead letter: a row whose worker died twice."""
    return lambda **changes: dead_letter(rows, **changes)


def dead_letter(rows: Rows, **changes: object) -> UUID:
    """Let a row's worker die until the row is given up."""
    prediction_id = rows.add(**changes)
    while rows.status(prediction_id) != "failed":
        pid = next(PIDS)
        rows.claim(worker_id=rows.worker(pid=pid))
        ledger.release_dead_worker(rows.connection, host=HOST, pid=pid)
    return prediction_id


def listed(rows: Rows, **changes: object) -> list[DeadLetter]:
    options = {"api_key_id": None, "model": None, "before": None, "limit": 100} | changes
    return list_dead_letters(rows.connection, **options)  # type: ignore[arg-type]


def test_a_row_whose_worker_died_twice_is_a_dead_letter(rows: Rows, die: Callable[..., UUID]) -> None:
    prediction_id = die()

    [letter] = listed(rows)

    assert (letter.kind, letter.id, letter.model, letter.version) == ("prediction", prediction_id, "xor", 1)
    assert (letter.reason, letter.attempts, letter.crashes) == ("worker_crash", 2, 2)
    assert (letter.worker, letter.device, letter.redriven_as) == (f"cpu-0@{HOST}", "cpu:0", None)


def test_a_row_that_met_passing_faults_alone_is_a_dead_letter(rows: Rows) -> None:
    claim = rows.claim_one()
    while rows.status(claim.id) != "failed":
        ledger.release(rows.connection, [claim], keep_attempt=False)
        claim = next(iter(rows.claim()), claim)

    assert [letter.reason for letter in listed(rows)] == ["attempts_exhausted"]


def test_other_failures_and_successes_are_none(rows: Rows) -> None:
    ledger.complete(rows.connection, [failure(rows.claim_one()), success(rows.claim_one())])

    assert listed(rows) == []


def test_a_training_whose_process_kept_dying_is_a_dead_letter(rows: Rows) -> None:
    training_id = uuid7()
    rows.connection.execute(
        text("""
            INSERT INTO trainings (id, model_id, status, trigger, actor, options, seed, time_limit_s, attempt,
                crash_count, error_code, error_detail, finished_at)
            VALUES (:id, :model, 'failed', 'api', 'me', '{}', 1, 60, 3, 2, 'worker_crash', 'it died', now())
        """),
        {"id": training_id, "model": rows.version.model_id},
    )

    [letter] = listed(rows)

    assert (letter.kind, letter.id, letter.version, letter.attempts) == ("training", training_id, None, 3)


def test_shadows_answer_nobody_and_are_none(rows: Rows, die: Callable[..., UUID]) -> None:
    die(shadow_of=uuid7())

    assert listed(rows) == []


def test_the_newest_come_first_and_a_page_at_a_time(rows: Rows, die: Callable[..., UUID]) -> None:
    oldest, middle, newest = die(), die(), die()

    first = listed(rows, limit=2)
    second = listed(rows, limit=2, before=first[-1].id)

    assert [letter.id for letter in first] == [newest, middle]
    assert [letter.id for letter in second] == [oldest]


def test_a_tenant_sees_its_own(rows: Rows, die: Callable[..., UUID]) -> None:
    mine = die()
    die(api_key_id=OTHER_TENANT)

    assert [letter.id for letter in listed(rows, api_key_id=TENANT)] == [mine]


def test_those_of_one_model_are_found(rows: Rows, die: Callable[..., UUID]) -> None:
    prediction_id = die()

    assert [letter.id for letter in listed(rows, model="xor")] == [prediction_id]
    assert listed(rows, model="fashion") == []


def test_a_redrive_asks_the_same_again_and_leaves_the_dead_letter_as_it_is(
    rows: Rows, die: Callable[..., UUID]
) -> None:
    prediction_id = die(input=[1.0, 0.0])

    again = redrive(rows.connection, prediction_id, api_key_id=None)

    assert again is not None
    new, old = rows.get(again), rows.get(prediction_id)
    assert (new.status, new.attempt, new.crash_count, new.redrive_of) == ("queued", 0, 0, prediction_id)
    assert (new.input, new.api_key_id, new.model_version_id) == (old.input, old.api_key_id, old.model_version_id)
    assert (old.status, old.error_code) == ("failed", "worker_crash")


def test_a_redrive_is_claimed_like_any_other(rows: Rows, die: Callable[..., UUID]) -> None:
    again = redrive(rows.connection, die(), api_key_id=None)

    assert [claim.id for claim in rows.claim()] == [again]


def test_a_second_redrive_finds_the_first(rows: Rows, die: Callable[..., UUID]) -> None:
    prediction_id = die()

    first = redrive(rows.connection, prediction_id, api_key_id=None)

    assert redrive(rows.connection, prediction_id, api_key_id=None) == first


def test_redrives_at_the_same_time_make_one_prediction(committed: Rows, database: Database) -> None:
    prediction_id = dead_letter(committed)

    def ask(_turn: int) -> UUID | None:
        with open_session(database) as session:
            return redrive(session.connection(), prediction_id, api_key_id=None)

    with ThreadPoolExecutor(4) as pool:
        made = set(pool.map(ask, range(8)))

    assert len(made) == 1
    count = text("SELECT count(*) FROM predictions WHERE redrive_of = :id")
    assert committed.connection.execute(count, {"id": prediction_id}).scalar_one() == 1


@pytest.mark.parametrize("end", [success, failure])
def test_what_is_no_dead_letter_is_not_redriven(rows: Rows, end: Callable[..., object]) -> None:
    claim = rows.claim_one()
    ledger.complete(rows.connection, [end(claim)])  # type: ignore[list-item]

    assert redrive(rows.connection, claim.id, api_key_id=None) is None


def test_another_tenants_dead_letter_is_not_redriven(rows: Rows, die: Callable[..., UUID]) -> None:
    assert redrive(rows.connection, die(), api_key_id=OTHER_TENANT) is None


def test_a_redrive_is_told_beside_its_dead_letter(rows: Rows, die: Callable[..., UUID]) -> None:
    again = redrive(rows.connection, die(), api_key_id=None)

    assert [letter.redriven_as for letter in listed(rows)] == [again]


def test_many_are_redriven_oldest_first_at_bulk_priority(rows: Rows, die: Callable[..., UUID]) -> None:
    oldest, middle, _newest = die(), die(), die()

    made = redrive_all(rows.connection, api_key_id=None, limit=2)

    assert set(made) == {oldest, middle}
    assert {rows.get(again).priority for again in made.values()} == {"bulk"}


def test_the_same_request_goes_on_where_the_last_one_ended(rows: Rows, die: Callable[..., UUID]) -> None:
    die()
    newest = die()
    redrive_all(rows.connection, api_key_id=None, limit=1)

    assert set(redrive_all(rows.connection, api_key_id=None, limit=1)) == {newest}
    assert redrive_all(rows.connection, api_key_id=None, limit=1) == {}


def test_a_span_of_time_is_redriven(rows: Rows, die: Callable[..., UUID]) -> None:
    die()
    now = datetime.now(UTC)

    assert redrive_all(rows.connection, api_key_id=None, since=now + timedelta(minutes=1), limit=10) == {}
    assert redrive_all(rows.connection, api_key_id=None, until=now - timedelta(minutes=1), limit=10) == {}
    assert len(redrive_all(rows.connection, api_key_id=None, since=now - timedelta(minutes=1), limit=10)) == 1


def test_a_tenants_own_are_redriven_under_their_tenant(rows: Rows, die: Callable[..., UUID]) -> None:
    mine = die()
    die(api_key_id=OTHER_TENANT)

    made = redrive_all(rows.connection, api_key_id=TENANT, limit=10)

    assert set(made) == {mine}
    assert rows.get(made[mine]).api_key_id == TENANT


def test_those_that_nobody_asked_again_are_counted(rows: Rows, die: Callable[..., UUID]) -> None:
    die()
    redrive(rows.connection, die(), api_key_id=None)

    assert [tuple(row) for row in count_dead_letters(rows.connection)] == [("xor", "worker_crash", 1)]
