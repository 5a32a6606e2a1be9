"""Dead letters: see what workers failed at, and have it asked again."""

from dataclasses import asdict
from typing import Any
from uuid import UUID

from flask import Response
from flask.views import MethodView

from schemas import dead_letters as schemas
from schemas.enums import AuditAction, Scope
from schemas.messages import RunPredictions
from schemas.predictions import EXAMPLE, QUEUED_EXAMPLE, PredictionSchema, QueuedPredictionSchema
from store import dead_letters as store
from store.database import open_session
from store.errors import PredictionStateError
from store.predictions import get_prediction
from store.tables.prediction import Prediction
from webapp.audit import audit
from webapp.auth import caller_session, require, visible_to
from webapp.blueprint import Blueprint
from webapp.openapi import QUEUED_HEADERS
from webapp.pages import next_cursor
from webapp.problems.documented import problems
from webapp.problems.predictions import INVALID_REDRIVE, NOT_DEAD, UNKNOWN_PREDICTION
from webapp.problems.requests import INVALID_PAGE, MALFORMED_REQUEST, UNKNOWN_PATH
from webapp.responses import prediction_response
from webapp.services import services

blp = Blueprint(
    "dead_letters",
    __name__,
    url_prefix="/v1",
    description="What ended because its workers failed, and asking it again.",
)

#: The ids of a doorbell are for the reader of Flower.
RING_IDS = 100

DEAD_ID = "0198c9a2-7f3e-7cc1-a4b5-2f6d8e9a0b1c"


@blp.route("/dead-letters")
class DeadLetterViews(MethodView):
    """Dead letters."""

    @problems(INVALID_PAGE)
    @blp.doc(operationId="list_dead_letters")
    @require(Scope.READ)
    @blp.arguments(schemas.DeadLetterQueryArgsSchema(), location="query")
    @blp.response(200, schemas.DeadLetterPageSchema, description="A page.", example=schemas.PAGE_EXAMPLE)
    def get(self, query: dict[str, Any]) -> dict[str, Any]:
        """List dead letters.

        Predictions whose worker died or hung twice, or whose every attempt met a passing fault, and trainings whose
        process kept dying. Newest first; predictions of your key, an admin sees all. A model that nobody knows has
        none.
        """
        with caller_session() as session:
            found = store.list_dead_letters(
                session.connection(),
                api_key_id=visible_to(),
                model=query["model"],
                before=query["cursor"],
                limit=query["limit"],
            )
        return {
            "data": [asdict(letter) for letter in found],
            "next_cursor": next_cursor(found, query["limit"]),
        }


@blp.route("/dead-letters/redrive")
class DeadLetterRedriveViews(MethodView):
    """Asking many again."""

    @problems(MALFORMED_REQUEST, INVALID_REDRIVE)
    @blp.doc(operationId="redrive_dead_letters")
    @require(Scope.PREDICT)
    @blp.arguments(schemas.RedriveSchema, example=schemas.REDRIVE_EXAMPLE)
    @blp.response(200, schemas.RedrivenListSchema, description="Asked again.", example=schemas.REDRIVEN_EXAMPLE)
    def post(self, chosen: dict[str, Any]) -> dict[str, Any]:
        """Ask many dead letters again.

        Each becomes a new prediction of the same input under the key that asked first, at bulk priority. Those that
        were asked again before are passed over, so the same request may be sent until `more` is false. Trainings are
        asked for anew with `create_training`.
        """
        with open_session(services().database) as session:
            made = store.redrive_all(session.connection(), api_key_id=visible_to(), **chosen)
            if made:
                audit(session, AuditAction.REDRIVE, "dead-letters", after={"count": len(made)})
            first = None if not made else get_prediction(session, next(iter(made.values())), api_key_id=None)
        if first is not None:
            _ring(first.version.model.name, first.version.number, list(made.values()))
        return {
            "data": [{"id": dead, "redriven_as": again} for dead, again in made.items()],
            "more": len(made) == chosen["limit"],
        }


@blp.route("/predictions/<uuid:prediction_id>/redrive")
class PredictionRedriveViews(MethodView):
    """Asking one again."""

    @problems(UNKNOWN_PREDICTION, UNKNOWN_PATH, NOT_DEAD)
    @blp.alt_response(
        202,
        schema=QueuedPredictionSchema,
        description="The new prediction; not finished yet.",
        example={**QUEUED_EXAMPLE, "redrive_of": DEAD_ID},
        headers=QUEUED_HEADERS,
    )
    @blp.doc(operationId="redrive_prediction")
    @require(Scope.PREDICT)
    @blp.response(
        200,
        PredictionSchema,
        description="The new prediction, which is finished by now.",
        example={**EXAMPLE, "redrive_of": DEAD_ID},
    )
    def post(self, prediction_id: UUID) -> Response:
        """Ask a dead letter again.

        What ended stays as it ended: a new prediction of the same input, by the same version and for the same key,
        has `redrive_of` set. However often this is sent, there is one: later requests answer with the first's.
        """
        with open_session(services().database) as session:
            dead = get_prediction(session, prediction_id, api_key_id=visible_to())
            again = store.redrive(session.connection(), prediction_id, api_key_id=visible_to())
            if again is None:
                raise PredictionStateError(f"prediction {prediction_id} is {_described(dead)}: it is no dead letter")
            audit(session, AuditAction.REDRIVE, f"predictions/{prediction_id}", after={"as": str(again)})
        _ring(dead.version.model.name, dead.version.number, [again])
        with open_session(services().database) as session:
            return prediction_response(session, get_prediction(session, again, api_key_id=None))


def _described(row: Prediction) -> str:
    return row.status if row.error_code is None else f"{row.status} with {row.error_code}"


def _ring(model: str, version: int, ids: list[UUID]) -> None:
    """Wake a worker. Its claim finds whatever waits, of this and of other models."""
    services().ring_predictions(
        RunPredictions(model=model, version=version, prediction_ids=[str(each) for each in ids[:RING_IDS]])
    )
