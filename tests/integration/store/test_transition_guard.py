"""The trigger that refuses illegal edges, whatever code runs; see `store.tables.prediction`."""

from itertools import product

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import IntegrityError

from schemas.enums import PredictionStatus
from store import ledger
from tests.factories import Rows, success

TERMINAL = [status for status in PredictionStatus if status.is_terminal]
LEAVING = [(old, new) for old, new in product(TERMINAL, PredictionStatus) if old != new]
SKIPPING = [
    (PredictionStatus.QUEUED, PredictionStatus.SUCCEEDED),
    (PredictionStatus.QUEUED, PredictionStatus.FAILED),
    (PredictionStatus.PROCESSING, PredictionStatus.EXPIRED),
]


@pytest.mark.parametrize(("old", "new"), LEAVING + SKIPPING)
def test_an_illegal_edge_is_refused(rows: Rows, old: PredictionStatus, new: PredictionStatus) -> None:
    prediction_id = rows.add()
    _walk_to(rows.connection, old)

    with pytest.raises(IntegrityError, match=f"{prediction_id} may not go from {old} to {new}"):
        rows.connection.execute(text("UPDATE predictions SET status = :new"), {"new": new})


@pytest.mark.parametrize("change", ["result = '{}'", "error_code = 'internal'", "result = NULL"])
def test_the_outcome_of_a_finished_prediction_cannot_be_changed(rows: Rows, change: str) -> None:
    ledger.complete(rows.connection, [success(rows.claim_one())])

    with pytest.raises(IntegrityError, match="may not go from succeeded to succeeded"):
        rows.connection.execute(text(f"UPDATE predictions SET {change}"))


def test_a_finished_prediction_may_lose_what_is_no_outcome(rows: Rows) -> None:
    claim = rows.claim_one()
    ledger.complete(rows.connection, [success(claim)])

    rows.connection.execute(text("UPDATE predictions SET input = NULL"))

    assert rows.get(claim.id).input is None


@pytest.mark.parametrize("column", ["status", "priority"])
def test_a_word_that_is_no_member_of_its_enum_is_refused(rows: Rows, column: str) -> None:
    rows.add()

    with pytest.raises(IntegrityError, match=f"ck_predictions_{column}"):
        rows.connection.execute(text(f"UPDATE predictions SET {column} = 'odd'"))


def _walk_to(connection: Connection, status: PredictionStatus) -> None:
    """Take the only row of this transaction to a status by legal edges."""
    if status in {PredictionStatus.PROCESSING, PredictionStatus.SUCCEEDED, PredictionStatus.FAILED}:
        connection.execute(text("UPDATE predictions SET status = 'processing'"))
    connection.execute(text("UPDATE predictions SET status = :status"), {"status": status})
