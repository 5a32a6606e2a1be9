"""Webhook endpoints: URLs that hear of what happens."""

from typing import Any
from uuid import UUID

from flask import Response, make_response, url_for
from flask.views import MethodView
from sqlalchemy.orm import Session

from schemas import webhook_examples as examples
from schemas import webhooks as schemas
from schemas.enums import AuditAction, Scope, WebhookEvent
from schemas.pages import PageQueryArgsSchema
from store import deliveries, webhooks
from store.database import open_session
from store.secret_box import SecretBox
from store.tables.webhook import WebhookEndpoint
from webapp.audit import audit
from webapp.auth import caller_session, principal, require, visible_to
from webapp.blueprint import Blueprint
from webapp.errors import ScopeError
from webapp.openapi import DELIVERY_HEADERS, WEBHOOK_HEADERS
from webapp.pages import next_cursor
from webapp.problems.documented import problems
from webapp.problems.requests import INVALID_PAGE, MALFORMED_REQUEST, UNKNOWN_PATH
from webapp.problems.webhooks import (
    INVALID_WEBHOOK,
    INVALID_WEBHOOK_URL,
    UNKNOWN_WEBHOOK,
    WEBHOOK_LIMIT,
    WEBHOOK_STATE,
    WEBHOOKS_NOT_CONFIGURED,
)
from webapp.services import services
from webapp.views.webhook_deliveries import delivery_response
from webapp.webhook_presenter import present_endpoint

blp = Blueprint("webhooks", __name__, url_prefix="/v1", description="Be told instead of asking.")


@blp.route("/webhooks")
class WebhookViews(MethodView):
    """All endpoints of a key."""

    @problems(INVALID_PAGE)
    @blp.doc(operationId="list_webhooks")
    @require(Scope.READ)
    @blp.arguments(PageQueryArgsSchema(), location="query")
    @blp.response(200, schemas.WebhookPageSchema, description="A page.", example=examples.PAGE_EXAMPLE)
    def get(self, query: dict[str, Any]) -> dict[str, Any]:
        """List webhook endpoints.

        Newest first, those of your key; an admin sees all.
        """
        with caller_session() as session:
            rows = webhooks.list_endpoints(
                session, api_key_id=visible_to(), before=query["cursor"], limit=query["limit"]
            )
        return {"data": [present_endpoint(row) for row in rows], "next_cursor": next_cursor(rows, query["limit"])}

    @problems(MALFORMED_REQUEST, INVALID_WEBHOOK, INVALID_WEBHOOK_URL, WEBHOOK_LIMIT, WEBHOOKS_NOT_CONFIGURED)
    @blp.doc(operationId="create_webhook")
    @require(Scope.PREDICT)
    @blp.arguments(schemas.WebhookRequestSchema, example=examples.REQUEST_EXAMPLE)
    @blp.response(
        201,
        schemas.WebhookWithSecretSchema,
        description="It was made; the secret is shown this once.",
        example=examples.CREATED_EXAMPLE,
        headers=WEBHOOK_HEADERS,
    )
    def post(self, wanted: dict[str, Any]) -> Response:
        """Make a webhook endpoint.

        It is told of the predictions that your key accepts from now on. What it is sent is signed with its secret by
        the Standard Webhooks specification.
        """
        box = _secret_box()
        _check_events(wanted["events"])
        url = webhooks.check_webhook_url(wanted["url"], services().settings.outward)
        with open_session(services().database) as session:
            row, secret = webhooks.create_endpoint(
                session,
                box,
                api_key_id=principal().api_key_id,
                url=url,
                description=wanted["description"],
                events=wanted["events"],
            )
            body = present_endpoint(row) | {"secret": secret}
            audit(session, AuditAction.CREATE_WEBHOOK, _subject(row.id), after=_small(row))
        response = make_response(schemas.WebhookWithSecretSchema().dump(body), 201)
        response.headers["Location"] = url_for("webhooks.WebhookByIdViews", webhook_id=row.id)
        return response


@blp.route("/webhooks/<uuid:webhook_id>")
class WebhookByIdViews(MethodView):
    """One endpoint."""

    @problems(UNKNOWN_WEBHOOK, UNKNOWN_PATH)
    @blp.doc(operationId="get_webhook")
    @require(Scope.READ)
    @blp.response(200, schemas.WebhookSchema, description="The endpoint.", example=examples.EXAMPLE)
    def get(self, webhook_id: UUID) -> dict[str, Any]:
        """Read a webhook endpoint.

        Without its secret: that was shown when it was made.
        """
        with caller_session() as session:
            return present_endpoint(_find(session, webhook_id))

    @problems(MALFORMED_REQUEST, UNKNOWN_WEBHOOK, UNKNOWN_PATH, INVALID_WEBHOOK, INVALID_WEBHOOK_URL)
    @blp.doc(operationId="change_webhook")
    @require(Scope.PREDICT)
    @blp.arguments(schemas.WebhookChangeSchema, example={"events": ["prediction.failed"]})
    @blp.response(200, schemas.WebhookSchema, description="As it is now.", example=examples.EXAMPLE)
    def patch(self, wanted: dict[str, Any], webhook_id: UUID) -> dict[str, Any]:
        """Change a webhook endpoint.

        What is left out stays. What waits for it is sent to a new URL as well.
        """
        _check_events(wanted["events"] or ())
        url = wanted["url"]
        if url is not None:
            url = webhooks.check_webhook_url(url, services().settings.outward)
        values = webhooks.EndpointValues(url=url, description=wanted["description"], events=wanted["events"])
        with open_session(services().database) as session:
            row = _find(session, webhook_id, lock=True)
            before = _small(row)
            webhooks.change_endpoint(session, row, values)
            audit(session, AuditAction.UPDATE_WEBHOOK, _subject(webhook_id), before=before, after=_small(row))
            return present_endpoint(row)

    @problems(UNKNOWN_WEBHOOK, UNKNOWN_PATH)
    @blp.doc(operationId="delete_webhook")
    @require(Scope.PREDICT)
    @blp.response(204, description="It is gone, with all that was to be sent to it.")
    def delete(self, webhook_id: UUID) -> None:
        """Delete a webhook endpoint.

        Nothing more is sent to it, and its deliveries can be read no longer.
        """
        with open_session(services().database) as session:
            webhooks.delete_endpoint(session, _find(session, webhook_id, lock=True))
            audit(session, AuditAction.DELETE_WEBHOOK, _subject(webhook_id))


@blp.route("/webhooks/<uuid:webhook_id>/rotate-secret")
class WebhookSecretViews(MethodView):
    """The secret of one endpoint."""

    @problems(UNKNOWN_WEBHOOK, UNKNOWN_PATH, WEBHOOKS_NOT_CONFIGURED)
    @blp.doc(operationId="rotate_webhook_secret")
    @require(Scope.PREDICT)
    @blp.response(
        200,
        schemas.WebhookWithSecretSchema,
        description="The new secret, shown this once.",
        example=examples.ROTATED_EXAMPLE,
    )
    def post(self, webhook_id: UUID) -> dict[str, Any]:
        """Give a webhook endpoint a new secret.

        For 24 hours both the new secret and the one before sign what is sent, so that a receiver may change over
        without refusing anything. Rotating again drops the older of the two at once.
        """
        box = _secret_box()
        with open_session(services().database) as session:
            row = _find(session, webhook_id, lock=True)
            secret = webhooks.rotate_secret(session, box, row)
            audit(session, AuditAction.ROTATE_WEBHOOK_SECRET, _subject(webhook_id))
            return present_endpoint(row) | {"secret": secret}


@blp.route("/webhooks/<uuid:webhook_id>/pause")
class WebhookPauseViews(MethodView):
    """Pausing one endpoint."""

    @problems(MALFORMED_REQUEST, UNKNOWN_WEBHOOK, UNKNOWN_PATH, INVALID_WEBHOOK)
    @blp.doc(operationId="pause_webhook")
    @require(Scope.PREDICT)
    @blp.arguments(schemas.WebhookPauseSchema, example={"reason": "the shop moves"})
    @blp.response(200, schemas.WebhookSchema, description="It is paused.", example=examples.PAUSED_EXAMPLE)
    def post(self, wanted: dict[str, Any], webhook_id: UUID) -> dict[str, Any]:
        """Pause a webhook endpoint.

        What happens meanwhile is kept for 30 days and sent once it is resumed.
        """
        with open_session(services().database) as session:
            row = _find(session, webhook_id, lock=True)
            webhooks.pause_endpoint(session, row, wanted["reason"])
            audit(session, AuditAction.PAUSE_WEBHOOK, _subject(webhook_id), after={"reason": wanted["reason"]})
            return present_endpoint(row)


@blp.route("/webhooks/<uuid:webhook_id>/resume")
class WebhookResumeViews(MethodView):
    """Resuming one endpoint."""

    @problems(UNKNOWN_WEBHOOK, UNKNOWN_PATH)
    @blp.doc(operationId="resume_webhook")
    @require(Scope.PREDICT)
    @blp.response(200, schemas.WebhookSchema, description="It is enabled.", example=examples.EXAMPLE)
    def post(self, webhook_id: UUID) -> dict[str, Any]:
        """Resume a webhook endpoint.

        What waits for it is sent. One that is left alone since it failed is tried again at once.
        """
        with open_session(services().database) as session:
            row = _find(session, webhook_id, lock=True)
            webhooks.resume_endpoint(session, row)
            audit(session, AuditAction.RESUME_WEBHOOK, _subject(webhook_id))
            return present_endpoint(row)


@blp.route("/webhooks/<uuid:webhook_id>/test")
class WebhookTestViews(MethodView):
    """Trying one endpoint."""

    @problems(UNKNOWN_WEBHOOK, UNKNOWN_PATH, WEBHOOK_STATE)
    @blp.doc(operationId="test_webhook")
    @require(Scope.PREDICT)
    @blp.response(
        202,
        schemas.WebhookDeliverySchema,
        description="It is about to be sent.",
        example=examples.TEST_EXAMPLE,
        headers=DELIVERY_HEADERS,
    )
    def post(self, webhook_id: UUID) -> Response:
        """Send a test event.

        A `webhook.test`, on the way of every other event. Read the delivery to see what the endpoint answered.
        """
        with open_session(services().database) as session:
            delivery = deliveries.send_test(session, _find(session, webhook_id))
            audit(session, AuditAction.TEST_WEBHOOK, _subject(webhook_id))
            return delivery_response(delivery)


def _find(session: Session, webhook_id: UUID, *, lock: bool = False) -> WebhookEndpoint:
    return webhooks.get_endpoint(session, webhook_id, api_key_id=visible_to(), lock=lock)


def _subject(webhook_id: UUID) -> str:
    return f"webhooks/{webhook_id}"


def _small(row: WebhookEndpoint) -> dict[str, Any]:
    """What of an endpoint may be read by others than its tenant: its address may hold a password."""
    return {"events": list(row.events), "state": row.state}


def _secret_box() -> SecretBox:
    return SecretBox.open_with(services().settings.webhook_key)


def _check_events(events: list[WebhookEvent] | tuple[()]) -> None:
    """Trainings and promotions are for those who may read them."""
    if not all(event.is_own for event in events) and not principal().may(Scope.READ):
        raise ScopeError("only a key with the scope 'read' may be told of trainings and promotions")
