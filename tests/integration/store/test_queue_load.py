"""`store.queue_load`: what waits, by version, priority and tenant."""

from uuid import uuid4

import pytest

from schemas.enums import Priority
from store.queue_load import read_held_load, read_queue_load
from tests.factories import OTHER_TENANT, TENANT, Rows


def test_an_empty_queue_is_nothing(rows: Rows) -> None:
    assert read_queue_load(rows.connection) == []


def test_rows_of_one_tenant_and_priority_are_one_entry(rows: Rows) -> None:
    rows.add(lag_s=1.0)
    rows.add(lag_s=3.0)

    [found] = read_queue_load(rows.connection)

    assert (found.version, found.priority, found.api_key_id, found.rows) == ("xor/1", Priority.NORMAL, TENANT, 2)
    assert (found.first_s, found.last_s) == (11.0, 13.0)


@pytest.mark.parametrize("other", [{"priority": Priority.BULK}, {"api_key_id": OTHER_TENANT}])
def test_other_priorities_and_tenants_are_entries_of_their_own(rows: Rows, other: dict[str, object]) -> None:
    rows.add()
    rows.add(**other)

    assert [each.rows for each in read_queue_load(rows.connection)] == [1, 1]


def test_rows_that_answer_nobody_are_no_tenants(rows: Rows) -> None:
    rows.add(shadow_of=uuid4())

    [found] = read_queue_load(rows.connection)

    assert (found.api_key_id, found.rows) == (None, 1)


def test_what_was_claimed_waits_no_more(rows: Rows) -> None:
    rows.claim_one()

    assert read_queue_load(rows.connection) == []


def test_what_was_claimed_is_held(rows: Rows) -> None:
    rows.add_many(3)
    rows.claim(limit=2)

    assert read_held_load(rows.connection) == {"xor/1": 2}
