"""Items: what is known of one entry of the caller's catalog."""

from typing import Any

from flask.views import MethodView

from schemas import predictions as schemas
from schemas.enums import AuditAction, Scope
from schemas.forgetting import EXAMPLE as FORGOTTEN_EXAMPLE
from schemas.forgetting import ForgottenItemSchema
from schemas.pages import PageQueryArgsSchema
from store.database import open_session
from store.forgetting import REQUEST_PATIENCE, forget_item, remove_objects
from store.predictions import list_item_predictions
from store.replies import publish, publish_forgotten
from webapp.audit import audit
from webapp.auth import caller_session, principal, require, visible_to
from webapp.blueprint import Blueprint
from webapp.problems.documented import problems
from webapp.problems.items import UNKNOWN_ITEM
from webapp.problems.requests import INVALID_PAGE
from webapp.responses import page
from webapp.services import services

blp = Blueprint("items", __name__, url_prefix="/v1", description="The things of your catalog.")


@blp.route("/items/<string:catalog>/<string:external_id>")
class ItemViews(MethodView):
    """One item."""

    @problems(UNKNOWN_ITEM)
    @blp.doc(operationId="forget_item")
    @require(Scope.PREDICT)
    @blp.response(200, ForgottenItemSchema, description="What is gone.", example=FORGOTTEN_EXAMPLE)
    def delete(self, catalog: str, external_id: str) -> dict[str, Any]:
        """Forget an item.

        Removes what is stored of it under your key, an admin of every key: its predictions, their inputs, masks and
        feedback, its places in indexes, and the keys of its requests. What was still open is cancelled, and so are
        trainings under way that learn from it; the answer names them. Weights that were trained with it are not
        undone; the answer names their versions, and the log of decisions keeps that something was forgotten, not what.
        """
        collaborators, caller = services(), principal()
        with open_session(collaborators.database) as session:
            forgotten = forget_item(
                session, catalog=catalog, external_id=external_id, api_key_id=visible_to(), actor=caller.name
            )
            # Not its name: that is forgotten too.
            audit(session, AuditAction.FORGET_ITEM, "items", after=forgotten.counts)
        publish(collaborators.redis, forgotten.canceled)
        publish_forgotten(collaborators.redis, forgotten.answered)
        files = remove_objects(
            collaborators.database, collaborators.objects, forgotten.digests, patience=REQUEST_PATIENCE
        )
        return {
            "catalog": catalog,
            "external_id": external_id,
            **forgotten.counts,
            "objects": files,
            "versions": [{"model": model, "version": number} for model, number in forgotten.versions],
            "trainings": [{"model": training.model, "id": training.id} for training in forgotten.trainings],
        }


@blp.route("/items/<string:catalog>/<string:external_id>/predictions")
class ItemPredictionViews(MethodView):
    """Predictions about one item."""

    @problems(UNKNOWN_ITEM, INVALID_PAGE)
    @blp.doc(operationId="list_item_predictions")
    @require(Scope.READ)
    @blp.arguments(PageQueryArgsSchema(), location="query")
    @blp.response(200, schemas.PredictionPageSchema, description="A page.", example=schemas.PAGE_EXAMPLE)
    def get(self, query: dict[str, Any], catalog: str, external_id: str) -> dict[str, Any]:
        """List what was predicted about an item.

        Newest first, by any model and version. Predictions name their item with `catalog` and `external_id`.
        """
        with caller_session() as session:
            rows = list_item_predictions(
                session,
                catalog=catalog,
                external_id=external_id,
                api_key_id=visible_to(),
                before=query["cursor"],
                limit=query["limit"],
            )
            return page(rows, query["limit"])
