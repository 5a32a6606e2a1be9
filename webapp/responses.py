"""Responses that more than one view gives."""

from collections.abc import Sequence
from typing import Any

from flask import Response, make_response, url_for
from sqlalchemy.orm import Session

from schemas.predictions import PredictionSchema, QueuedPredictionSchema
from store.predictions import queue_position
from store.stats import finished_per_second
from store.tables.prediction import Prediction
from webapp.presenters import MS, from_row

RETRY_AFTER_S = 1


def prediction_response(session: Session, row: Prediction) -> Response:
    """Answer 200 with a finished prediction, or 202 with one that is not."""
    if row.finished_at is None:
        return queued_response(session, row)
    return make_response(PredictionSchema().dump(from_row(row)))


def queued_response(session: Session, row: Prediction) -> Response:
    """Answer 202 with where the prediction can be read and a guess at when it will be finished."""
    position = queue_position(session, row)
    rate = finished_per_second(session.connection())
    body = from_row(row) | {
        "queue_position": position,
        "eta_ms": round((position + 1) / rate * MS, 1) if rate else None,
    }
    response = make_response(QueuedPredictionSchema().dump(body), 202)
    response.headers["Location"] = url_for("predictions.PredictionByIdViews", prediction_id=row.id)
    response.headers["Retry-After"] = str(RETRY_AFTER_S)
    return response


def page(rows: Sequence[Prediction], limit: int) -> dict[str, Any]:
    """Present one page; a full one may have a next."""
    return {
        "data": [from_row(row) for row in rows],
        "next_cursor": str(rows[-1].id) if len(rows) == limit else None,
    }
