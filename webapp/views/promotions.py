"""Which version of a model answers, who decided that, and why."""

from typing import Any

from flask import Response, make_response
from flask.views import MethodView
from sqlalchemy.orm import Session

from schemas import decisions as schemas
from schemas.enums import Alias, AuditAction, Scope
from schemas.models import EXAMPLE, ModelSchema
from schemas.prediction_arguments import WaitHeadersSchema
from store.database import open_session
from store.decisions import list_decisions
from store.models import get_model
from store.promotion import promote, rollback, set_challenger
from store.tables.model_version import ModelVersion
from webapp.audit import audit
from webapp.auth import principal, require
from webapp.blueprint import Blueprint
from webapp.model_documents import present_decision, present_model
from webapp.openapi import UPCOMING_HEADERS
from webapp.pages import next_cursor
from webapp.prefer import wait_seconds
from webapp.problems.documented import problems
from webapp.problems.models import INVALID_REASON, NO_EARLIER_CHAMPION, UNKNOWN_MODEL, UNKNOWN_VERSION, VERSION_STATE
from webapp.problems.requests import INVALID_HEADER, INVALID_PAGE, MALFORMED_REQUEST, UNKNOWN_PATH
from webapp.promotions import decide
from webapp.services import services

UPCOMING_EXAMPLE = {**EXAMPLE, "upcoming": 2}

blp = Blueprint(
    "promotions",
    __name__,
    url_prefix="/v1/models",
    description="Which version answers, and the log of who decided what, why, and by which figures.",
)


@blp.route("/<string:model>/versions/<int:version>/promote")
class PromotionViews(MethodView):
    """Promoting a version."""

    @problems(
        MALFORMED_REQUEST, INVALID_HEADER, UNKNOWN_MODEL, UNKNOWN_VERSION, UNKNOWN_PATH, VERSION_STATE, INVALID_REASON
    )
    @blp.alt_response(
        202,
        schema=ModelSchema,
        description="Decided; the workers are still loading it, and the champion before goes on answering.",
        example=UPCOMING_EXAMPLE,
        headers=UPCOMING_HEADERS,
    )
    @blp.doc(operationId="promote_model_version")
    @require(Scope.ADMIN)
    @blp.arguments(schemas.PromotionSchema, example=schemas.PROMOTION_EXAMPLE)
    @blp.arguments(WaitHeadersSchema(), location="headers")
    @blp.response(200, ModelSchema, description="The model as it answers now.", example=EXAMPLE)
    def post(self, promotion: dict[str, Any], headers: dict[str, Any], model: str, version: int) -> Response:
        """Promote a version of a model.

        As champion it answers whoever names no version. The workers load it beside the one that answers, which goes on
        until they hold it, so no request fails or waits for that; if they cannot load it, nothing changes and the
        version keeps the reason as its `failure`. Waits for the outcome as `Prefer` says, 10 seconds by default.
        Promoting the champion again changes nothing.
        """
        wait_s = wait_seconds(headers["prefer"])
        decided = {"actor": principal().name, "reason": promotion["reason"]}
        subject = f"models/{model}/versions/{version}"
        if promotion["alias"] is Alias.CHAMPION:

            def change(session: Session) -> ModelVersion:
                promoted = promote(session, name=model, number=version, **decided)
                audit(session, AuditAction.PROMOTE_VERSION, subject, after={"alias": str(Alias.CHAMPION)})
                return promoted

            return decide(services(), model, wait_s, change)
        with open_session(services().database) as session:
            set_challenger(session, name=model, number=version, **decided)
            audit(session, AuditAction.PROMOTE_VERSION, subject, after={"alias": str(Alias.CHALLENGER)})
            return make_response(ModelSchema().dump(present_model(get_model(session, model))))


@blp.route("/<string:model>/rollback")
class RollbackViews(MethodView):
    """Going back."""

    @problems(MALFORMED_REQUEST, INVALID_HEADER, UNKNOWN_MODEL, VERSION_STATE, NO_EARLIER_CHAMPION, INVALID_REASON)
    @blp.alt_response(
        202,
        schema=ModelSchema,
        description="Decided; the workers are still loading the version to go back to.",
        example=UPCOMING_EXAMPLE,
        headers=UPCOMING_HEADERS,
    )
    @blp.doc(operationId="rollback_model")
    @require(Scope.ADMIN)
    @blp.arguments(schemas.RollbackSchema, example=schemas.ROLLBACK_EXAMPLE)
    @blp.arguments(WaitHeadersSchema(), location="headers")
    @blp.response(200, ModelSchema, description="The model as it answers now.", example=EXAMPLE)
    def post(self, wish: dict[str, Any], headers: dict[str, Any], model: str) -> Response:
        """Go back to the champion before this one.

        Once more goes one further back. Versions that failed or were archived meanwhile are passed over. While a
        promotion is under way, that is called off instead.
        """
        wait_s = wait_seconds(headers["prefer"])
        decided = {"actor": principal().name, "reason": wish["reason"]}

        def change(session: Session) -> ModelVersion:
            found = rollback(session, name=model, **decided)
            audit(session, AuditAction.ROLL_BACK_MODEL, f"models/{model}", after={"version": found.number})
            return found

        return decide(services(), model, wait_s, change)


@blp.route("/<string:model>/decisions")
class DecisionViews(MethodView):
    """The log of decisions about a model."""

    @problems(UNKNOWN_MODEL, INVALID_PAGE)
    @blp.doc(operationId="list_model_decisions")
    @require(Scope.READ)
    @blp.arguments(schemas.DecisionPageQueryArgsSchema(), location="query")
    @blp.response(200, schemas.DecisionPageSchema, description="A page.", example=schemas.PAGE_EXAMPLE)
    def get(self, query: dict[str, Any], model: str) -> dict[str, Any]:
        """List what was decided about a model.

        Newest first: who changed what, why, and by which figures. Nothing in it ever changes.
        """
        action, limit = query["action"], query["limit"]
        with open_session(services().database) as session:
            found = list_decisions(
                session,
                model_id=get_model(session, model).id,
                limit=limit,
                before_id=query["cursor"],
                action=None if action is None else str(action),
            )
            return {
                "data": [present_decision(decision) for decision in found],
                "next_cursor": next_cursor(found, limit),
            }
