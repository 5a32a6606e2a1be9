"""How a model's traffic is split among its versions, and how they did."""

from typing import Any

from flask.views import MethodView

from schemas import comparisons as comparison_schemas
from schemas import traffic as schemas
from schemas.enums import AuditAction, Scope
from schemas.traffic import TrafficPlan
from store.comparison import compare
from store.database import open_session
from store.traffic import clear_traffic, read_traffic, set_traffic
from webapp.audit import audit
from webapp.auth import principal, require
from webapp.blueprint import Blueprint
from webapp.comparisons import present_comparison, present_traffic
from webapp.problems.documented import problems
from webapp.problems.models import UNKNOWN_MODEL
from webapp.problems.requests import MALFORMED_REQUEST
from webapp.problems.traffic import INVALID_SINCE, INVALID_SPLIT, INVALID_TRAFFIC, TRAFFIC_CONFLICT
from webapp.services import services

blp = Blueprint("traffic", __name__, url_prefix="/v1/models", description="Which version answers, and how it does.")


@blp.route("/<string:model>/traffic")
class TrafficViews(MethodView):
    """The split of one model's traffic."""

    @problems(UNKNOWN_MODEL)
    @blp.doc(operationId="get_traffic")
    @require(Scope.READ)
    @blp.response(200, schemas.TrafficSchema, description="How it is split.", example=schemas.EXAMPLE)
    def get(self, model: str) -> dict[str, Any]:
        """Read how a model's traffic is split.

        With the probability with which each version is chosen now. A model without a split is answered by its champion.
        """
        with open_session(services().database) as session:
            return present_traffic(read_traffic(session, model))

    @problems(MALFORMED_REQUEST, UNKNOWN_MODEL, TRAFFIC_CONFLICT, INVALID_SPLIT, INVALID_TRAFFIC)
    @blp.doc(operationId="set_traffic")
    @require(Scope.ADMIN)
    @blp.arguments(schemas.TrafficRequestSchema, example=schemas.REQUEST_EXAMPLE)
    @blp.response(200, schemas.TrafficSchema, description="How it is split now.", example=schemas.EXAMPLE)
    def put(self, given: dict[str, Any], model: str) -> dict[str, Any]:
        """Split a model's traffic.

        Replaces the whole split; what is left out gets its default. Every web process follows within seconds. A request
        that names a version is answered by that. The split ends by itself when another version becomes champion, or
        when a guard finds a version clearly worse.
        """
        reason = given.pop("reason")
        with open_session(services().database) as session:
            set_traffic(session, name=model, plan=TrafficPlan.load(given), actor=principal().name, reason=reason)
            audit(session, AuditAction.SET_TRAFFIC, f"models/{model}/traffic")
            return present_traffic(read_traffic(session, model))

    @problems(UNKNOWN_MODEL)
    @blp.doc(operationId="delete_traffic")
    @require(Scope.ADMIN)
    @blp.response(204, description="The champion answers alone.")
    def delete(self, model: str) -> None:
        """End a split.

        The champion answers alone, without shadows. Ending it twice is fine.
        """
        with open_session(services().database) as session:
            clear_traffic(session, name=model, actor=principal().name)
            audit(session, AuditAction.DELETE_TRAFFIC, f"models/{model}/traffic")


@blp.route("/<string:model>/comparison")
class ComparisonViews(MethodView):
    """The versions of one model side by side."""

    @problems(UNKNOWN_MODEL, INVALID_SINCE)
    @blp.doc(operationId="get_comparison")
    @require(Scope.READ)
    @blp.arguments(comparison_schemas.ComparisonQueryArgsSchema, location="query")
    @blp.response(
        200,
        comparison_schemas.ComparisonSchema,
        description="What each version did.",
        example=comparison_schemas.EXAMPLE,
    )
    def get(self, query: dict[str, Any], model: str) -> dict[str, Any]:
        """Compare a model's versions in real traffic.

        Counts the requests whose version was drawn. Intervals and verdicts hold however often they are looked at, so
        that a comparison may be ended as soon as one says what you want to know.
        """
        with open_session(services().database) as session:
            return present_comparison(compare(session, model, since=query["since"]))
