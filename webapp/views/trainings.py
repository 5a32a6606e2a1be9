"""Trainings: ask for one, follow it, cancel it, and see what it learned from."""

from hashlib import sha256
from typing import Any
from uuid import UUID

from flask import Response, make_response, request, url_for
from flask.views import MethodView

from schemas import trainings as schemas
from schemas.enums import AuditAction, Scope, TrainingTrigger
from schemas.messages import TrainModel
from schemas.training_options import TrainingOptions, TrainingOptionsSchema
from store import training_ledger
from store import trainings as store
from store.database import open_session
from store.errors import TrainingStateError
from store.models import ServedVersion
from webapp.audit import audit
from webapp.auth import caller_session, principal, require, visible_to
from webapp.blueprint import Blueprint
from webapp.errors import ScopeError, UnsupportedMediaError
from webapp.openapi import TRAINING_HEADERS
from webapp.posted import SAFETENSORS_TYPES, pack_json, pack_safetensors
from webapp.problems.documented import problems
from webapp.problems.models import UNKNOWN_MODEL
from webapp.problems.outages import NOT_READY, OBJECTS_UNAVAILABLE
from webapp.problems.requests import INVALID_PAGE, MALFORMED_REQUEST, TOO_LARGE, UNKNOWN_PATH
from webapp.problems.trainings import (
    INVALID_POSTED_DATA,
    INVALID_TRAINING_OPTION,
    NO_TRAINING_DATA,
    TRAINING_MEDIA_TYPE,
    TRAINING_OPTION,
    TRAINING_RUNNING,
    TRAINING_STATE,
    UNKNOWN_TRAINING,
)
from webapp.responses import RETRY_AFTER_S
from webapp.services import services
from webapp.training_events import stream
from webapp.training_presenter import from_training

JSON_TYPE = "application/json"

#: The body of `create_training` for the OpenAPI document.
BODY: dict[str, Any] = {
    "required": False,
    "description": "How to train; with `inputs` and `targets`, on these rows alone. As safetensors the options stand "
    "in the query, and the file holds the tensors `inputs`, rows of numbers, and `targets`, a label's index or a "
    "number for each.",
    "content": {
        JSON_TYPE: {
            "schema": schemas.TrainingRequestSchema,
            "examples": {
                "feedback": {"value": {"start": "champion", "epochs": 6, "feedback_weight": 2.0}},
                "posted": {"value": schemas.POSTED_EXAMPLE},
            },
        },
        SAFETENSORS_TYPES[0]: {"schema": {"type": "string", "format": "binary"}, "example": "(bytes)"},
    },
}

TEXT = {"type": "string"}
EVENT_STREAM = "text/event-stream"
PLAIN = "text/plain"

blp = Blueprint("trainings", __name__, url_prefix="/v1", description="New versions from feedback and data.")


@blp.route("/models/<string:model>/trainings")
class TrainingViews(MethodView):
    """All trainings of a model."""

    @problems(UNKNOWN_MODEL, INVALID_PAGE)
    @blp.doc(operationId="list_model_trainings")
    @require(Scope.READ)
    @blp.arguments(schemas.TrainingPageQueryArgsSchema(), location="query")
    @blp.response(
        200, schemas.TrainingPageSchema, description="A page.", example={"data": [schemas.EXAMPLE], "next_cursor": None}
    )
    def get(self, query: dict[str, Any], model: str) -> dict[str, Any]:
        """List a model's trainings.

        Newest first, whatever asked for them.
        """
        return _page(store.TrainingFilter(model=model), query)

    @problems(
        MALFORMED_REQUEST,
        UNKNOWN_MODEL,
        TRAINING_RUNNING,
        TOO_LARGE,
        TRAINING_MEDIA_TYPE,
        INVALID_TRAINING_OPTION,
        TRAINING_OPTION,
        NO_TRAINING_DATA,
        INVALID_POSTED_DATA,
        OBJECTS_UNAVAILABLE,
    )
    @blp.doc(operationId="create_training", requestBody=BODY)
    @require(Scope.TRAIN)
    @blp.arguments(schemas.TrainingRequestSchema(), location="json")
    @blp.arguments(TrainingOptionsSchema(), location="query")
    @blp.response(
        202,
        schemas.TrainingSchema,
        description="It is queued.",
        example=schemas.QUEUED_EXAMPLE,
        headers=TRAINING_HEADERS,
    )
    def post(self, body: dict[str, Any], query: dict[str, Any], model: str) -> Response:
        """Train a model.

        On the recipe's own data and the feedback that the options select; or, with data in the body, on that alone.
        What comes of it is a new version that must pass the model's gate before it answers, unless `promote` says
        otherwise. One training of a model runs at a time.
        """
        version = services().models.resolve(model, None)
        packed = _read_data(body, version)
        options = TrainingOptions.load(query if request.mimetype in SAFETENSORS_TYPES else body)
        if options.promote and Scope.ADMIN not in principal().scopes:
            raise ScopeError("`promote` takes a key with the scope 'admin'; leave it out and let the gate decide")
        data = None
        if packed is not None:
            data = store.PostedData(sha256=sha256(packed[0]).hexdigest(), rows=packed[1])
        with open_session(services().database) as session:
            training = store.request_training(
                session, name=model, options=options, trigger=TrainingTrigger.API, actor=principal().name, data=data
            )
            audit(session, AuditAction.CREATE_TRAINING, f"trainings/{training.id}", after={"model": model})
            if packed is not None:
                # Last of all, yet before the commit: what is refused leaves nothing behind, what is accepted is there.
                services().objects.put(packed[0])
        services().ring_training(TrainModel(training_id=str(training.id), model=model))
        response = make_response(schemas.TrainingSchema().dump(from_training(training)), 202)
        response.headers["Retry-After"] = str(RETRY_AFTER_S)
        response.headers["Location"] = url_for("trainings.TrainingByIdViews", training_id=training.id)
        return response


@blp.route("/trainings")
class AllTrainingViews(MethodView):
    """All trainings."""

    @problems(UNKNOWN_MODEL, INVALID_PAGE)
    @blp.doc(operationId="list_trainings")
    @require(Scope.READ)
    @blp.arguments(schemas.TrainingListQueryArgsSchema(), location="query")
    @blp.response(
        200, schemas.TrainingPageSchema, description="A page.", example={"data": [schemas.EXAMPLE], "next_cursor": None}
    )
    def get(self, query: dict[str, Any]) -> dict[str, Any]:
        """List trainings.

        Newest first. With `prediction`, those that have learned from its feedback: their `version` has seen it.
        """
        chosen = {name: query[name] for name in ("model", "status", "prediction")}
        return _page(store.TrainingFilter(**chosen), query)


@blp.route("/trainings/<uuid:training_id>")
class TrainingByIdViews(MethodView):
    """One training."""

    @problems(UNKNOWN_TRAINING, UNKNOWN_PATH)
    @blp.doc(operationId="get_training")
    @require(Scope.READ)
    @blp.response(200, schemas.TrainingSchema, description="The training.", example=schemas.EXAMPLE)
    def get(self, training_id: UUID) -> dict[str, Any]:
        """Read a training.

        While it runs, `progress` is about a second old.
        """
        with open_session(services().database) as session:
            return from_training(store.get_training(session, training_id))


@blp.route("/trainings/<uuid:training_id>/cancel")
class TrainingCancelViews(MethodView):
    """Cancelling one training."""

    @problems(UNKNOWN_TRAINING, UNKNOWN_PATH, TRAINING_STATE)
    @blp.doc(operationId="cancel_training")
    @require(Scope.TRAIN)
    @blp.response(200, schemas.TrainingSchema, description="The cancelled training.", example=schemas.CANCELED_EXAMPLE)
    def post(self, training_id: UUID) -> dict[str, Any]:
        """Cancel a training.

        While it is queued it never runs; while it runs its process is killed within seconds, and its memory is free.
        Cancelling twice is fine.
        """
        with open_session(services().database) as session:
            training_ledger.cancel(session.connection(), training_id)
            training = store.get_training(session, training_id)
            if training.status != "canceled":
                raise TrainingStateError(f"training {training_id} is {training.status} already")
            audit(session, AuditAction.CANCEL_TRAINING, f"trainings/{training_id}")
            return from_training(training)


@blp.route("/trainings/<uuid:training_id>/examples")
class TrainingExampleViews(MethodView):
    """What a training learned from."""

    @problems(UNKNOWN_TRAINING, UNKNOWN_PATH, INVALID_PAGE)
    @blp.doc(operationId="list_training_examples")
    @require(Scope.READ)
    @blp.arguments(schemas.TrainingPageQueryArgsSchema(), location="query")
    @blp.response(200, schemas.TrainingExamplePageSchema, description="A page.", example=schemas.EXAMPLES_EXAMPLE)
    def get(self, query: dict[str, Any], training_id: UUID) -> dict[str, Any]:
        """List what a training learned from.

        The predictions whose feedback it took, oldest first: those of your key; an admin sees all.
        """
        limit = query["limit"]
        with caller_session() as session:
            store.get_training(session, training_id)
            rows = store.list_examples(
                session, training_id, api_key_id=visible_to(), after=query["cursor"], limit=limit
            )
        return {"data": rows, "next_cursor": str(rows[-1].prediction_id) if len(rows) == limit else None}


@blp.route("/trainings/<uuid:training_id>/log")
class TrainingLogViews(MethodView):
    """What a training said."""

    @problems(UNKNOWN_TRAINING, UNKNOWN_PATH)
    @blp.doc(operationId="get_training_log")
    @require(Scope.READ)
    @blp.response(200, TEXT, content_type=PLAIN, description="The end of its log.", example=schemas.LOG_EXAMPLE)
    def get(self, training_id: UUID) -> Response:
        """Read the log of a training.

        The last 64 Ki characters of what its process said, all attempts together.
        """
        with open_session(services().database) as session:
            response = make_response(store.get_training(session, training_id, with_log=True).log)
        response.content_type = f"{PLAIN}; charset=utf-8"
        return response


@blp.route("/trainings/<uuid:training_id>/events")
class TrainingEventViews(MethodView):
    """A training as it goes."""

    @problems(UNKNOWN_TRAINING, UNKNOWN_PATH, NOT_READY)
    @blp.doc(operationId="stream_training_events")
    @require(Scope.READ)
    @blp.response(
        200, TEXT, content_type=EVENT_STREAM, description="Server-sent events.", example=schemas.EVENTS_EXAMPLE
    )
    def get(self, training_id: UUID) -> Response:
        """Follow a training.

        Server-sent events, about one a second: `progress`, and at the end one named by the final status. The data of
        each is the training as `GET /v1/trainings/{id}` answers it. Where `promote` was asked for, the last event waits
        until the new version answers. Reconnect when the stream ends before that.
        """
        with open_session(services().database) as session:
            store.get_training(session, training_id)
        response = Response(stream(services().database, training_id), content_type=EVENT_STREAM)
        # A proxy that gathers the answer first would tell nothing until the end.
        response.headers["X-Accel-Buffering"] = "no"
        response.headers["Cache-Control"] = "no-store"
        return response


def _read_data(body: dict[str, Any], version: ServedVersion) -> tuple[bytes, int] | None:
    """Take the data out of the body, packed and counted; None where there is none."""
    inputs, targets = body.pop("inputs"), body.pop("targets")
    if request.mimetype in SAFETENSORS_TYPES:
        return pack_safetensors(request.get_data(cache=False), version)
    if inputs is not None or targets is not None:
        return pack_json(inputs, targets, version)
    if request.mimetype not in ("", JSON_TYPE):
        raise UnsupportedMediaError(f"send {JSON_TYPE}, or {SAFETENSORS_TYPES[0]} with the tensors inputs and targets")
    return None


def _page(chosen: store.TrainingFilter, query: dict[str, Any]) -> dict[str, Any]:
    limit = query["limit"]
    with caller_session() as session:
        rows: Any = store.list_trainings(session, chosen, before=query["cursor"], limit=limit, api_key_id=visible_to())
        data = [from_training(row) for row in rows]
    return {"data": data, "next_cursor": str(rows[-1].id) if len(rows) == limit else None}
