"""`webapp.presenters`: a row and the event of the same prediction look the same."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from schemas.messages import PredictionFinished
from schemas.predictions import PredictionSchema
from store.ledger_rows import Submission
from store.models import ServedVersion
from store.tables.item import Item
from store.tables.model import Model
from store.tables.model_version import ModelVersion
from store.tables.prediction import Prediction
from tests.factories import VECTOR_CONFIG
from webapp.presenters import from_event, from_row

ID = UUID("0198c9a2-7f3e-7cc1-a4b5-2f6d8e9a0b1c")
CREATED = datetime(2026, 11, 20, 12, tzinfo=UTC)
STARTED, FINISHED = CREATED + timedelta(milliseconds=3), CREATED + timedelta(milliseconds=10, microseconds=250)

SERVED = ServedVersion(
    model_id=1,
    model_version_id=1,
    model="xor",
    number=3,
    kind="classification",
    config=VECTOR_CONFIG,
    weights_sha256="00" * 32,
)
SUBMISSION = Submission(
    id=ID, api_key_id=1, model_id=1, model_version_id=1, reply_channel=None, catalog="shop", external_id="42"
)
EVENT = PredictionFinished(
    id=str(ID),
    status="succeeded",
    attempt=1,
    result={"label": "1"},
    error_code=None,
    error_detail=None,
    created_at=CREATED.isoformat(),
    started_at=STARTED.isoformat(),
    finished_at=FINISHED.isoformat(),
    decode_ms=0.5,
    compute_ms=1.5,
    device="cpu:0",
    worker_id=1,
)


def make_row(**changes: Any) -> Prediction:
    """The row that `EVENT` tells of."""
    fields: dict[str, Any] = {
        "id": ID,
        "status": "succeeded",
        "priority": "normal",
        "attempt": 1,
        "cached": False,
        "result": {"label": "1"},
        "created_at": CREATED,
        "started_at": STARTED,
        "finished_at": FINISHED,
        "decode_ms": 0.5,
        "compute_ms": 1.5,
        "device": "cpu:0",
        "version": ModelVersion(number=3, model=Model(name="xor")),
        "item": Item(catalog="shop", external_id="42"),
    }
    return Prediction(**fields | changes)


def test_a_row_and_its_event_look_the_same() -> None:
    assert from_event(SUBMISSION, SERVED, EVENT) == from_row(make_row())


def test_what_is_presented_is_what_the_schema_dumps() -> None:
    assert PredictionSchema().validate(PredictionSchema().dump(from_row(make_row()))) == {}


def test_times_are_spans_in_milliseconds() -> None:
    timings = from_row(make_row())["timings_ms"]

    assert timings == {"queued": 3.0, "decode": 0.5, "compute": 1.5, "total": 10.25}


def test_a_row_that_waits_has_no_times_yet() -> None:
    row = make_row(status="queued", started_at=None, finished_at=None, decode_ms=None, compute_ms=None, result=None)

    assert set(from_row(row)["timings_ms"].values()) == {None}


def test_a_failure_tells_its_code_and_sentence() -> None:
    failed = replace(EVENT, status="failed", result=None, error_code="non_finite", error_detail="no number")

    assert from_event(SUBMISSION, SERVED, failed)["error"] == {"code": "non_finite", "detail": "no number"}


def test_a_failure_without_a_sentence_tells_its_code_twice() -> None:
    row = make_row(status="failed", error_code="internal", error_detail=None)

    assert from_row(row)["error"] == {"code": "internal", "detail": "internal"}


def test_a_prediction_about_no_item_has_none() -> None:
    plain = replace(SUBMISSION, catalog=None, external_id=None)

    assert from_event(plain, SERVED, EVENT)["item"] is None
    assert from_row(make_row(item=None))["item"] is None


def test_an_expired_prediction_never_ran() -> None:
    expired = replace(EVENT, status="expired", started_at=None, decode_ms=None, compute_ms=None, device=None)

    assert from_event(SUBMISSION, SERVED, expired)["timings_ms"]["queued"] is None
