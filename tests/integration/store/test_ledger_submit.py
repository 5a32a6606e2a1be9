"""`store.ledger.submit` and what an idempotency key makes of a repeat."""

from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

import pytest
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DataError

from schemas.enums import Priority
from store import ledger
from store.ledger_rows import Submission
from store.models import ServedVersion
from tests.factories import OTHER_TENANT, TENANT, Rows, autocommit, submission


def test_an_accepted_prediction_is_queued_at_the_database_time(rows: Rows) -> None:
    accepted = submission(rows.version)

    at = ledger.submit(rows.connection, [accepted])

    row = rows.get(accepted.id)
    assert (row.status, row.attempt, row.fence) == ("queued", 0, None)
    assert at == {accepted.id: row.created_at}


def test_a_group_is_accepted_in_one_statement(rows: Rows) -> None:
    assert rows.statuses(rows.add_many(50)) == ["queued"] * 50


def test_a_json_input_is_kept_as_it_is(rows: Rows) -> None:
    assert rows.get(rows.add(input=[0.5, -1])).input == [0.5, -1]


def test_a_stored_file_is_kept_by_its_hash(rows: Rows) -> None:
    row = rows.get(rows.add(input=None, input_sha256="ab" * 32, input_bytes=7))

    assert (row.input, row.input_sha256, row.input_bytes) == (None, "ab" * 32, 7)


@pytest.mark.parametrize(
    ("priority", "delay_s"), [(Priority.INTERACTIVE, 0), (Priority.NORMAL, 10), (Priority.BULK, 600)]
)
def test_the_priority_sets_how_long_younger_rows_may_overtake(rows: Rows, priority: Priority, delay_s: float) -> None:
    row = rows.get(rows.add(priority=priority))

    assert (row.claim_order - row.created_at).total_seconds() == delay_s


def test_a_deadline_counts_from_acceptance(rows: Rows) -> None:
    row = rows.get(rows.add(deadline_ms=1500))

    assert (row.deadline_at - row.created_at).total_seconds() == 1.5


def test_predictions_about_one_item_share_its_row(rows: Rows) -> None:
    first, second = rows.add_many(2, catalog="shop", external_id="42")

    assert rows.get(first).item_id == rows.get(second).item_id is not None


def test_an_item_seen_again_keeps_its_row(rows: Rows) -> None:
    first, second = rows.add(catalog="shop", external_id="42"), rows.add(catalog="shop", external_id="42")

    assert rows.get(first).item_id == rows.get(second).item_id


def test_items_of_two_catalogs_are_different(rows: Rows) -> None:
    first, second = rows.add(catalog="shop", external_id="42"), rows.add(catalog="attic", external_id="42")

    assert rows.get(first).item_id != rows.get(second).item_id


def test_one_group_holds_rows_with_and_without_an_item(rows: Rows) -> None:
    group = [submission(rows.version), submission(rows.version, catalog="shop", external_id="42")]

    ledger.submit(rows.connection, group)

    assert [rows.get(each.id).item_id is None for each in group] == [True, False]


def test_a_repeat_under_an_idempotency_key_is_not_accepted(rows: Rows) -> None:
    rows.add(idempotency_key="k", request_sha256="aa")
    repeat = submission(rows.version, idempotency_key="k", request_sha256="aa")

    assert ledger.submit(rows.connection, [repeat]) == {}


def test_a_repeat_finds_the_first_prediction_and_its_request(rows: Rows) -> None:
    first = rows.add(idempotency_key="k", request_sha256="aa")
    rows.add(idempotency_key="k", request_sha256="bb")

    assert ledger.find_repeat(rows.connection, api_key_id=TENANT, key="k") == (first, "aa")


def test_an_unknown_idempotency_key_stands_for_nothing(connection: Connection) -> None:
    assert ledger.find_repeat(connection, api_key_id=TENANT, key="k") is None


def test_two_repeats_in_one_group_are_one_prediction(rows: Rows) -> None:
    group = [submission(rows.version, idempotency_key="k", request_sha256="aa") for _ in range(2)]

    assert len(ledger.submit(rows.connection, group)) == 1


def test_idempotency_keys_of_two_tenants_never_collide(rows: Rows) -> None:
    rows.add(idempotency_key="k", request_sha256="aa")
    other = submission(rows.version, api_key_id=OTHER_TENANT, idempotency_key="k", request_sha256="aa")

    assert list(ledger.submit(rows.connection, [other])) == [other.id]


def test_a_purge_forgets_only_keys_past_their_promise(rows: Rows) -> None:
    rows.add(idempotency_key="old", request_sha256="aa")
    rows.connection.execute(text("UPDATE idempotency_keys SET created_at = now() - interval '8 days'"))
    rows.add(idempotency_key="young", request_sha256="aa")

    assert ledger.purge_idempotency_keys(rows.connection, older_than_days=7) == 1
    assert ledger.find_repeat(rows.connection, api_key_id=TENANT, key="young") is not None


def test_a_group_with_an_input_that_postgres_cannot_hold_is_refused_whole(committed: Rows) -> None:
    good, bad = submission(committed.version), submission(committed.version, input="\x00")

    with pytest.raises(DataError):
        ledger.submit(committed.connection, [good, bad])

    count = committed.connection.execute(text("SELECT count(*) FROM predictions WHERE id = :id"), {"id": good.id})
    assert count.scalar_one() == 0


def test_concurrent_groups_about_the_same_items_do_not_deadlock(database: Engine, committed: Rows) -> None:
    def submit_many(order: int) -> int:
        with autocommit(database) as connection:
            return sum(len(ledger.submit(connection, _about_items(committed.version, order))) for _ in range(20))

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(submit_many, (1, -1))) == [200, 200]


def test_concurrent_repeats_are_one_prediction(database: Engine, committed: Rows) -> None:
    def submit_keyed(_: int) -> list[UUID]:
        repeats = [submission(committed.version, idempotency_key=f"k{n}", request_sha256="aa") for n in range(10)]
        with autocommit(database) as connection:
            return list(ledger.submit(connection, repeats))

    with ThreadPoolExecutor(4) as pool:
        accepted = [each for ids in pool.map(submit_keyed, range(8)) for each in ids]

    assert len(accepted) == 10


def _about_items(version: ServedVersion, order: int) -> list[Submission]:
    names = [str(number) for number in range(10)][::order]
    return [submission(version, catalog="shop", external_id=name) for name in names]
