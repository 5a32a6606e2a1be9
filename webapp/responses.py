"""Responses that more than one view gives."""

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from flask import Response, make_response, url_for
from sqlalchemy.orm import Session

from schemas.enums import PredictionStatus
from schemas.predictions import PredictionSchema, QueuedPredictionSchema
from store.predictions import queue_position
from store.stats import finished_per_second
from store.tables.prediction import Prediction
from webapp.pages import next_cursor
from webapp.presenters import MS, from_row
from webapp.services import services

RETRY_AFTER_S = 1

#: Longer than that nobody is sent away: a worker that starts makes an estimate void.
LONGEST_RETRY_S = 60


def prediction_response(session: Session, row: Prediction) -> Response:
    """Answer 200 with a finished prediction, or 202 with one that is not."""
    if row.finished_at is None:
        return queued_response(session, row)
    return make_response(PredictionSchema().dump(from_row(row)))


def queued_response(session: Session, row: Prediction) -> Response:
    """Answer 202 with where the prediction can be read and an estimate of when it will be finished."""
    position = queue_position(session, row)
    rest_s = _rest_s(session, row, position)
    body = from_row(row) | {"queue_position": position, "eta_ms": None if rest_s is None else round(rest_s * MS, 1)}
    response = make_response(QueuedPredictionSchema().dump(body), 202)
    response.headers["Location"] = url_for("predictions.PredictionByIdViews", prediction_id=row.id)
    retry_s = RETRY_AFTER_S if rest_s is None else min(max(RETRY_AFTER_S, math.ceil(rest_s)), LONGEST_RETRY_S)
    response.headers["Retry-After"] = str(retry_s)
    return response


def _rest_s(session: Session, row: Prediction, position: int) -> float | None:
    """Estimate the time until a prediction is finished: from what workers measured, else from what they finished."""
    pressure, version = services().pressure, f"{row.version.model.name}/{row.version.number}"
    if row.status != PredictionStatus.QUEUED:
        return pressure.one_s(version) or None
    if row.run_after > datetime.now(UTC):
        # It is not claimed before a time that says nothing of what waits.
        return None
    rest_s = pressure.rest_s(version, (row.claim_order - datetime.now(UTC)).total_seconds())
    if rest_s is None:
        rate = finished_per_second(session.connection())
        return (position + 1) / rate if rate else None
    return rest_s


def page(rows: Sequence[Prediction], limit: int) -> dict[str, Any]:
    """Present one page; a full one may have a next."""
    return {
        "data": [from_row(row) for row in rows],
        "next_cursor": next_cursor(rows, limit),
    }
