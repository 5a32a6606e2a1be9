"""Feedback: tell what the right answer was, for one prediction or for many, and read how right the versions were."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from flask import request
from flask.views import MethodView

from schemas import feedback as schemas
from schemas.enums import Scope
from store.accuracy import Tally, read_accuracy
from store.database import open_session
from store.errors import StoreError
from store.feedback import Correction, get_feedback, list_revisions, record_feedback
from store.models import list_versions
from store.tables.feedback import FeedbackRevision
from webapp.auth import caller_session, principal, require, visible_to
from webapp.blueprint import Blueprint
from webapp.feedback_import import import_feedback
from webapp.feedback_lines import CSV, NDJSON, read_lines
from webapp.presenters import from_feedback
from webapp.problems.documented import problems
from webapp.problems.feedback import (
    FEEDBACK_FILE,
    FEEDBACK_MEDIA_TYPE,
    INVALID_FEEDBACK,
    INVALID_LABEL,
    INVALID_WINDOW,
    UNANSWERED_PREDICTION,
    UNKNOWN_FEEDBACK,
)
from webapp.problems.models import UNKNOWN_MODEL
from webapp.problems.predictions import UNKNOWN_PREDICTION
from webapp.problems.requests import MALFORMED_REQUEST, TOO_LARGE, UNKNOWN_PATH
from webapp.services import services

TEXT = {"type": "string"}

#: The body of `import_feedback` for the OpenAPI document; `webapp.feedback_lines` reads it.
FILE_BODY: dict[str, Any] = {
    "required": True,
    "description": "A line for each prediction: its id, or the catalog and external id of an item, which stand for the "
    "latest answer about it; the label; and `source` and `weight` where they are other than usual. In CSV the first "
    "line names the columns, and the labels of a segmentation are separated by `|`.",
    "content": {
        NDJSON: {"schema": TEXT, "example": schemas.NDJSON_EXAMPLE},
        CSV: {"schema": TEXT, "example": schemas.CSV_EXAMPLE},
    },
}

blp = Blueprint("feedback", __name__, url_prefix="/v1", description="Say what the right answer was.")


@blp.route("/predictions/<uuid:prediction_id>/feedback")
class FeedbackViews(MethodView):
    """Feedback on one prediction."""

    @problems(UNKNOWN_PREDICTION, UNKNOWN_FEEDBACK, UNKNOWN_PATH)
    @blp.doc(operationId="get_feedback")
    @require(Scope.READ)
    @blp.response(200, schemas.FeedbackSchema, description="The feedback.", example=schemas.EXAMPLE)
    def get(self, prediction_id: UUID) -> dict[str, Any]:
        """Read the feedback on a prediction.

        The latest word, and what was said before it.
        """
        return _read(prediction_id)

    @problems(
        MALFORMED_REQUEST, UNKNOWN_PREDICTION, UNKNOWN_PATH, UNANSWERED_PREDICTION, INVALID_FEEDBACK, INVALID_LABEL
    )
    @blp.doc(operationId="put_feedback")
    @require(Scope.FEEDBACK)
    @blp.arguments(schemas.FeedbackBodySchema, example={"label": "Sneaker", "source": "returns desk", "weight": 1.0})
    @blp.response(200, schemas.FeedbackSchema, description="The feedback as it stands now.", example=schemas.EXAMPLE)
    def put(self, body: dict[str, Any], prediction_id: UUID) -> dict[str, Any]:
        """Say what the right answer was.

        At any time as long as the prediction is kept. The same again changes nothing; another label, source or weight
        raises the revision, and what was said before stays in the history. Trainings learn from the latest word.
        """
        correction = Correction(prediction_id=prediction_id, **body)
        with services().database.begin() as connection:
            [outcome] = record_feedback(
                connection, [correction], api_key_id=visible_to(), recorded_by=principal().api_key_id
            )
            if isinstance(outcome, StoreError):
                raise outcome
        return _read(prediction_id)


@blp.route("/models/<string:model>/feedback")
class FeedbackImportViews(MethodView):
    """Feedback on many predictions."""

    @problems(FEEDBACK_FILE, UNKNOWN_MODEL, TOO_LARGE, FEEDBACK_MEDIA_TYPE)
    @blp.doc(operationId="import_feedback", requestBody=FILE_BODY)
    @require(Scope.FEEDBACK)
    @blp.response(200, schemas.BulkFeedbackSchema, description="What became of it.", example=schemas.BULK_EXAMPLE)
    def post(self, model: str) -> dict[str, Any]:
        """Say what many right answers were.

        Good lines are stored whatever the others say; `errors` names the first that were refused. Sending a file again
        changes nothing.
        """
        version = services().models.resolve(model, None)
        lines = read_lines(request.mimetype, request.get_data(cache=False), version)
        return import_feedback(
            services().database, lines, version, api_key_id=visible_to(), recorded_by=principal().api_key_id
        )


@blp.route("/models/<string:model>/accuracy")
class AccuracyViews(MethodView):
    """How right a model is."""

    @problems(UNKNOWN_MODEL, INVALID_WINDOW)
    @blp.doc(operationId="get_accuracy")
    @require(Scope.READ)
    @blp.arguments(schemas.AccuracyQueryArgsSchema(), location="query")
    @blp.response(200, schemas.AccuracySchema, description="By version.", example=schemas.ACCURACY_EXAMPLE)
    def get(self, query: dict[str, Any], model: str) -> dict[str, Any]:
        """Read how right a model was.

        By version, of the predictions within the last seconds that have feedback by now, of all keys. Late feedback
        counts for the time of its prediction.
        """
        until, steps = datetime.now(UTC), query["steps"]
        since = until - timedelta(seconds=query["window_s"])
        with open_session(services().database) as session:
            versions = list_versions(session, model)
            found = read_accuracy(
                session.connection(), [each.id for each in versions], since=since, until=until, steps=steps
            )
        width = (until - since) / steps
        return {
            "model": model,
            "since": since,
            "until": until,
            "versions": [
                {
                    "version": version.number,
                    **Tally.sum(found[version.id].values()).figures(),
                    "series": [
                        {"since": since + step * width, **tally.figures()} for step, tally in found[version.id].items()
                    ],
                }
                for version in versions
                if version.id in found
            ],
        }


def _read(prediction_id: UUID) -> dict[str, Any]:
    with caller_session() as session:
        prediction, feedback = get_feedback(session, prediction_id, api_key_id=visible_to())
        return {
            "prediction": prediction.id,
            "model": prediction.version.model.name,
            "version": prediction.version.number,
            **from_feedback(feedback),
            "history": [_revision(row) for row in list_revisions(session, prediction_id)],
        }


def _revision(row: FeedbackRevision) -> dict[str, Any]:
    return {
        "label": row.label,
        "is_correct": row.is_correct,
        "error": row.error,
        "source": row.source,
        "weight": row.weight,
        "revision": row.revision,
        "recorded_at": row.recorded_at,
        "replaced_at": row.replaced_at,
    }
