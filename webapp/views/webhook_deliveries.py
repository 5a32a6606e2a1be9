"""Webhook deliveries: what was, or is to be, sent to endpoints."""

from typing import Any
from uuid import UUID

from flask import Response, make_response, url_for
from flask.views import MethodView

from schemas import webhook_examples as examples
from schemas import webhooks as schemas
from schemas.enums import AuditAction, DeliveryState, Scope
from store import deliveries
from store.database import open_session
from store.tables.webhook import WebhookDelivery
from store.webhooks import get_endpoint
from webapp.audit import audit
from webapp.auth import caller_session, require, visible_to
from webapp.blueprint import Blueprint
from webapp.openapi import DELIVERY_HEADERS
from webapp.pages import next_cursor
from webapp.problems.documented import problems
from webapp.problems.requests import INVALID_PAGE, UNKNOWN_PATH
from webapp.problems.webhooks import UNKNOWN_DELIVERY, UNKNOWN_WEBHOOK, WEBHOOK_STATE
from webapp.services import services
from webapp.webhook_presenter import present_delivery, present_delivery_with_attempts

blp = Blueprint("webhook-deliveries", __name__, url_prefix="/v1", description="What webhook endpoints are sent.")


@blp.route("/webhooks/<uuid:webhook_id>/deliveries")
class WebhookDeliveryViews(MethodView):
    """What is sent to one endpoint."""

    @problems(UNKNOWN_WEBHOOK, UNKNOWN_PATH, INVALID_PAGE)
    @blp.doc(operationId="list_webhook_deliveries")
    @require(Scope.READ)
    @blp.arguments(schemas.WebhookDeliveryQueryArgsSchema(), location="query")
    @blp.response(200, schemas.WebhookDeliveryPageSchema, description="A page.", example=examples.DELIVERIES_EXAMPLE)
    def get(self, query: dict[str, Any], webhook_id: UUID) -> dict[str, Any]:
        """List what was, or is to be, sent to a webhook endpoint.

        Newest first. What ended is kept for 30 days.
        """
        state: DeliveryState | None = query["state"]
        with caller_session() as session:
            rows = deliveries.list_deliveries(
                session,
                get_endpoint(session, webhook_id, api_key_id=visible_to()),
                state=state,
                before=query["cursor"],
                limit=query["limit"],
            )
        return {"data": [present_delivery(row) for row in rows], "next_cursor": next_cursor(rows, query["limit"])}


@blp.route("/webhook-deliveries/<uuid:delivery_id>")
class WebhookDeliveryByIdViews(MethodView):
    """One delivery."""

    @problems(UNKNOWN_DELIVERY, UNKNOWN_PATH)
    @blp.doc(operationId="get_webhook_delivery")
    @require(Scope.READ)
    @blp.response(
        200,
        schemas.WebhookDeliveryWithAttemptsSchema,
        description="The delivery.",
        example=examples.DELIVERY_WITH_ATTEMPTS_EXAMPLE,
    )
    def get(self, delivery_id: UUID) -> dict[str, Any]:
        """Read a webhook delivery.

        With every attempt: when, how long it took, what the endpoint answered or why it did not.
        """
        with caller_session() as session:
            row = deliveries.get_delivery(session, delivery_id, api_key_id=visible_to())
            return present_delivery_with_attempts(row, deliveries.list_attempts(session, row))


@blp.route("/webhook-deliveries/<uuid:delivery_id>/redeliver")
class WebhookRedeliveryViews(MethodView):
    """Sending one delivery again."""

    @problems(UNKNOWN_DELIVERY, UNKNOWN_PATH, WEBHOOK_STATE)
    @blp.doc(operationId="redeliver_webhook")
    @require(Scope.PREDICT)
    @blp.response(
        202,
        schemas.WebhookDeliverySchema,
        description="It is about to be sent again.",
        example=examples.PENDING_EXAMPLE,
        headers=DELIVERY_HEADERS,
    )
    def post(self, delivery_id: UUID) -> Response:
        """Send a webhook delivery again.

        Now, and with all ten attempts anew, whatever became of it. It keeps its `webhook-id`, by which a receiver
        knows that it saw it before. To a paused endpoint it is sent once that is resumed.
        """
        with open_session(services().database) as session:
            row = deliveries.get_delivery(session, delivery_id, api_key_id=visible_to())
            audit(session, AuditAction.REDELIVER_WEBHOOK, f"webhook-deliveries/{delivery_id}")
            return delivery_response(deliveries.redeliver(session, row))


def delivery_response(delivery: WebhookDelivery) -> Response:
    """Answer 202 with a delivery that is about to be sent."""
    response = make_response(schemas.WebhookDeliverySchema().dump(present_delivery(delivery)), 202)
    response.headers["Location"] = url_for("webhook-deliveries.WebhookDeliveryByIdViews", delivery_id=delivery.id)
    response.headers["Retry-After"] = "1"
    return response
