"""Predictions: make one, read it, list them, cancel."""

from typing import Any
from uuid import UUID

from flask import Response, request
from flask.views import MethodView

from schemas import prediction_arguments as arguments
from schemas import predictions as schemas
from schemas.enums import AuditAction, Scope
from store import ledger
from store.database import open_session
from store.errors import PredictionStateError
from store.predictions import PredictionFilter, get_prediction, list_predictions
from store.replies import publish
from webapp.answering import answer, read_prediction
from webapp.audit import audit
from webapp.auth import caller_session, principal, require, visible_to
from webapp.blueprint import Blueprint
from webapp.input_documents import CREATE_BODY
from webapp.openapi import QUEUED_HEADERS, REPLAYED_HEADERS
from webapp.prefer import wait_seconds
from webapp.presenters import from_row
from webapp.problems.admission import OF_ADMISSION
from webapp.problems.documented import problems
from webapp.problems.models import UNKNOWN_MODEL, UNKNOWN_VERSION
from webapp.problems.outages import OBJECTS_UNAVAILABLE
from webapp.problems.predictions import (
    IDEMPOTENCY_KEY_REUSED,
    INVALID_INPUT,
    INVALID_OPTION,
    PREDICTION_STATE,
    UNKNOWN_PREDICTION,
)
from webapp.problems.requests import (
    INVALID_HEADER,
    INVALID_PAGE,
    MALFORMED_BODY,
    TOO_LARGE,
    UNKNOWN_PATH,
    UNSUPPORTED_MEDIA_TYPE,
)
from webapp.problems.webhooks import UNKNOWN_NAMED_WEBHOOK
from webapp.requests import ask
from webapp.responses import page, prediction_response
from webapp.services import services

blp = Blueprint("predictions", __name__, url_prefix="/v1", description="Ask a model, and come back for the answer.")


@blp.route("/models/<string:model>/predictions")
class PredictionCreateViews(MethodView):
    """Predictions of one model."""

    @problems(
        MALFORMED_BODY,
        INVALID_HEADER,
        UNKNOWN_MODEL,
        UNKNOWN_VERSION,
        IDEMPOTENCY_KEY_REUSED,
        TOO_LARGE,
        UNSUPPORTED_MEDIA_TYPE,
        INVALID_OPTION,
        INVALID_INPUT,
        UNKNOWN_NAMED_WEBHOOK,
        OBJECTS_UNAVAILABLE,
        *OF_ADMISSION,
    )
    @blp.alt_response(
        202,
        schema=schemas.QueuedPredictionSchema,
        description="Accepted; not finished yet.",
        example=schemas.QUEUED_EXAMPLE,
        headers=QUEUED_HEADERS | REPLAYED_HEADERS,
    )
    @blp.doc(operationId="create_prediction", requestBody=CREATE_BODY)
    @require(Scope.PREDICT)
    @blp.arguments(arguments.PredictionQueryArgsSchema(), location="query")
    @blp.arguments(arguments.PredictionHeadersSchema(), location="headers")
    @blp.response(
        200,
        schemas.PredictionSchema,
        description="The finished prediction.",
        example=schemas.EXAMPLE,
        headers=REPLAYED_HEADERS,
    )
    def post(self, query: dict[str, Any], headers: dict[str, Any], model: str) -> Response:
        """Ask a model.

        Waits for the answer up to the time that `Prefer` names (10 seconds by default), then answers 202. Either
        way the prediction is stored before anything is answered. A finished prediction is not always a success:
        look at `status`.
        """
        ticket = ask(services(), request, principal(), model=model, query=query, headers=headers)
        return answer(services(), ticket)


@blp.route("/predictions")
class PredictionViews(MethodView):
    """All predictions."""

    @problems(INVALID_PAGE)
    @blp.doc(operationId="list_predictions")
    @require(Scope.READ)
    @blp.arguments(arguments.PredictionListQueryArgsSchema(), location="query")
    @blp.response(200, schemas.PredictionPageSchema, description="A page.", example=schemas.PAGE_EXAMPLE)
    def get(self, query: dict[str, Any]) -> dict[str, Any]:
        """List predictions.

        Newest first, those of your key; an admin sees all.
        """
        before, limit = query.pop("cursor"), query.pop("limit")
        with caller_session() as session:
            rows = list_predictions(
                session, PredictionFilter(**query), api_key_id=visible_to(), before=before, limit=limit
            )
            return page(rows, limit)


@blp.route("/predictions/<uuid:prediction_id>")
class PredictionByIdViews(MethodView):
    """One prediction."""

    @problems(INVALID_HEADER, UNKNOWN_PREDICTION, UNKNOWN_PATH)
    @blp.alt_response(
        202,
        schema=schemas.QueuedPredictionSchema,
        description="Not finished yet.",
        example=schemas.QUEUED_EXAMPLE,
        headers=QUEUED_HEADERS,
    )
    @blp.doc(operationId="get_prediction")
    @require(Scope.READ)
    @blp.arguments(arguments.WaitHeadersSchema(), location="headers")
    @blp.response(200, schemas.PredictionSchema, description="The finished prediction.", example=schemas.EXAMPLE)
    def get(self, headers: dict[str, Any], prediction_id: UUID) -> Response:
        """Read a prediction.

        Answers at once, or with `Prefer: wait=N` as soon as the prediction is finished or N seconds are over.
        """
        return read_prediction(
            services(),
            prediction_id,
            api_key_id=visible_to(),
            wait_s=wait_seconds(headers["prefer"], default_s=0.0),
            respond=prediction_response,
        )


@blp.route("/predictions/<uuid:prediction_id>/cancel")
class PredictionCancelViews(MethodView):
    """Cancelling one prediction."""

    @problems(UNKNOWN_PREDICTION, UNKNOWN_PATH, PREDICTION_STATE)
    @blp.doc(operationId="cancel_prediction")
    @require(Scope.PREDICT)
    @blp.response(
        200, schemas.PredictionSchema, description="The cancelled prediction.", example=schemas.CANCELED_EXAMPLE
    )
    def post(self, prediction_id: UUID) -> dict[str, Any]:
        """Cancel a prediction.

        While it is queued it never runs; while it is processing its result is discarded. Cancelling twice is fine.
        """
        with caller_session() as session:
            get_prediction(session, prediction_id, api_key_id=visible_to())
        with open_session(services().database) as session:
            canceled = ledger.cancel(session.connection(), prediction_id)
            if canceled:
                audit(session, AuditAction.CANCEL_PREDICTION, f"predictions/{prediction_id}")
        publish(services().redis, canceled)
        with caller_session() as session:
            row = get_prediction(session, prediction_id, api_key_id=visible_to())
            if row.status != "canceled":
                raise PredictionStateError(f"prediction {prediction_id} is {row.status} already")
            return from_row(row)
