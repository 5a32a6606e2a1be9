"""`store.tunings`: measurements of versions and of machines."""

from typing import Any

import pytest
from sqlalchemy import Engine as Database
from sqlalchemy import text
from sqlalchemy.orm import Session

from store import ledger
from store.models import ServedVersion, get_version
from store.tunings import (
    find_layout,
    find_sibling_tuning,
    find_tuning,
    recent_inputs,
    store_layout,
    store_tuning,
    try_lock_tuning,
    unlock_tuning,
)
from tests.factories import Rows, add_model, success

KEY = {"device_kind": "a GPU", "torch_version": "2.11"}
HOST = {"host_kind": "a machine", "torch_version": "2.11"}


def _store(session: Session, version: ServedVersion, **changes: Any) -> None:
    found: dict[str, Any] = {"choice": {"batch": 1}, "figures": {}, "complete": True, **KEY}
    store_tuning(session, version.model_version_id, **found | changes)


def test_a_measurement_is_found_by_its_kind_of_device_and_torch(session: Session, xor: ServedVersion) -> None:
    _store(session, xor)

    found = find_tuning(session, xor.model_version_id, **KEY)

    assert found is not None
    assert found.choice == {"batch": 1}
    assert find_tuning(session, xor.model_version_id, **KEY | {"torch_version": "2.12"}) is None
    assert find_tuning(session, xor.model_version_id, **KEY | {"device_kind": "another"}) is None


def test_a_later_measurement_takes_the_place_of_an_earlier_one(session: Session, xor: ServedVersion) -> None:
    _store(session, xor)
    _store(session, xor, choice={"batch": 2}, complete=False)

    rows = [row for row in get_version(session, "xor", 1).tunings if row.device_kind == "a GPU"]

    assert [(row.choice, row.complete) for row in rows] == [({"batch": 2}, False)]


def test_a_new_version_finds_the_measurement_of_the_same_network(session: Session) -> None:
    first = add_model(session, "one")
    _store(session, first)
    second = add_model(session, "one", number=2)

    found = find_sibling_tuning(session, second.model_version_id, **KEY)

    assert found is not None
    assert found.model_version_id == first.model_version_id


@pytest.mark.parametrize("changes", [{"arch_options": {"hidden": [9]}}, {"max_batch": 99}, {"tuning": {"forbid": []}}])
def test_the_measurement_of_another_network_says_nothing(session: Session, changes: dict[str, Any]) -> None:
    _store(session, add_model(session, "one"))
    second = add_model(session, "one", number=2, **changes)

    assert find_sibling_tuning(session, second.model_version_id, **KEY) is None


def test_a_version_that_is_deleted_takes_its_measurements_along(session: Session) -> None:
    version = add_model(session, "short-lived")
    _store(session, version)

    session.execute(text("UPDATE models SET champion_id = NULL WHERE name = 'short-lived'"))
    session.execute(text("DELETE FROM decisions WHERE model_version_id = :id"), {"id": version.model_version_id})
    session.execute(text("DELETE FROM model_versions WHERE id = :id"), {"id": version.model_version_id})

    assert find_tuning(session, version.model_version_id, **KEY) is None


def test_one_process_at_a_time_measures_a_version(database: Database) -> None:
    with database.connect() as first, database.connect() as second:
        assert try_lock_tuning(first, 5)
        assert not try_lock_tuning(second, 5)
        assert try_lock_tuning(second, 6)
        unlock_tuning(first, 5)
        assert try_lock_tuning(second, 5)
        for key in (5, 6):
            unlock_tuning(second, key)


def test_recent_inputs_are_those_that_were_answered_the_newest_first(rows: Rows, session: Session) -> None:
    for value in (1.0, 2.0):
        claim = rows.claim_one(input=[value, 0.0])
        ledger.complete(rows.connection, [success(claim)])
    rows.add(input=[3.0, 0.0])

    found = recent_inputs(session, rows.version.model_id, 10)

    assert [given for given, _ in found][:2] == [[2.0, 0.0], [1.0, 0.0]]
    assert len(recent_inputs(session, rows.version.model_id, 1)) == 1


def test_the_latest_layout_of_a_machine_is_found(session: Session) -> None:
    assert find_layout(session, **HOST) is None
    store_layout(session, **HOST, processes=1, threads=2, figures={})
    store_layout(session, **HOST, processes=2, threads=1, figures={"model": "m"})

    found = find_layout(session, **HOST)

    assert found is not None
    assert (found.processes, found.threads, found.figures) == (2, 1, {"model": "m"})
