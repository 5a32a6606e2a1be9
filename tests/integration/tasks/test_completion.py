"""`tasks.completion`: outcomes are stored, or their fault is heard."""

from pathlib import Path

import pytest
import redis
from sqlalchemy import Engine as Database
from sqlalchemy.exc import DataError

from store.objects import ObjectStore
from tasks.completion import Completion
from tasks.finishing import FinishContext, Finishers
from tasks.spool import Spool
from tests.factories import Rows, success


@pytest.fixture
def completion(database: Database, valkey: redis.Redis, objects: ObjectStore, tmp_path: Path) -> Completion:
    finishers = Finishers(FinishContext(database=database, objects=objects))
    return Completion(database, valkey, finishers, Spool(tmp_path, "cpu-0"))


def test_outcomes_are_stored(completion: Completion, committed: Rows) -> None:
    claim = committed.claim_one()

    completion.finish([success(claim)])

    assert committed.status(claim.id) == "succeeded"


def test_an_outcome_that_postgres_cannot_hold_is_an_error_and_not_tried_for_ever(
    completion: Completion, committed: Rows
) -> None:
    claim = committed.claim_one()

    with pytest.raises(DataError):
        completion.finish([success(claim, label="\0")])


def test_a_fault_spoils_no_later_outcome(completion: Completion, committed: Rows) -> None:
    broken, good = committed.claim_one(), committed.claim_one()
    with pytest.raises(DataError):
        completion.finish([success(broken, label="\0")])

    completion.finish([success(good)])

    assert committed.status(good.id) == "succeeded"
