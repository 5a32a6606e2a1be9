"""Items: what is known of one entry of the caller's catalog."""

from typing import Any

from flask.views import MethodView

from schemas import predictions as schemas
from schemas.enums import Scope
from store.database import open_session
from store.predictions import list_item_predictions
from webapp.auth import require, visible_to
from webapp.blueprint import Blueprint
from webapp.problems import INVALID_PAGE, UNKNOWN_ITEM, problems
from webapp.responses import page
from webapp.services import services

blp = Blueprint("items", __name__, url_prefix="/v1", description="The things of your catalog.")


@blp.route("/items/<string:catalog>/<string:external_id>/predictions")
class ItemPredictionViews(MethodView):
    """Predictions about one item."""

    @problems(UNKNOWN_ITEM, INVALID_PAGE)
    @blp.doc(operationId="list_item_predictions")
    @require(Scope.READ)
    @blp.arguments(schemas.PageQueryArgsSchema(), location="query")
    @blp.response(200, schemas.PredictionPageSchema, description="A page.", example=schemas.PAGE_EXAMPLE)
    def get(self, query: dict[str, Any], catalog: str, external_id: str) -> dict[str, Any]:
        """List what was predicted about an item.

        Newest first, by any model and version. Predictions name their item with `catalog` and `external_id`.
        """
        with open_session(services().database) as session:
            rows = list_item_predictions(
                session,
                catalog=catalog,
                external_id=external_id,
                api_key_id=visible_to(),
                before=query["cursor"],
                limit=query["limit"],
            )
            return page(rows, query["limit"])
