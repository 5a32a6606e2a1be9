"""Webhook deliveries for those who ask: reading them with their attempts, sending one again, trying an endpoint."""

from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session
from uuid_utils.compat import uuid7

from schemas.enums import TEST_EVENT, DeliveryState, WebhookState
from store import delivery_sql as sql
from store.errors import UnknownDeliveryError, WebhookStateError
from store.tables.webhook import WebhookAttempt, WebhookDelivery, WebhookEndpoint

#: Attempts that are shown of one delivery: the last ones.
MOST_ATTEMPTS = 100


def get_delivery(session: Session, delivery_id: UUID, *, api_key_id: int | None) -> WebhookDelivery:
    """Return a delivery.

    Raises:
        UnknownDeliveryError: There is none, or it is another tenant's.
    """
    statement = (
        select(WebhookDelivery)
        .join(WebhookEndpoint, WebhookEndpoint.id == WebhookDelivery.endpoint_id)
        .where(WebhookDelivery.id == delivery_id, WebhookEndpoint.deleted_at.is_(None))
        .execution_options(populate_existing=True)
    )
    if api_key_id is not None:
        statement = statement.where(WebhookEndpoint.api_key_id == api_key_id)
    row = session.scalar(statement)
    if row is None:
        raise UnknownDeliveryError(
            f"there is no webhook delivery {delivery_id}; GET /v1/webhooks/{{id}}/deliveries lists them"
        )
    return row


def list_deliveries(
    session: Session,
    endpoint: WebhookEndpoint,
    *,
    state: DeliveryState | None = None,
    before: UUID | None = None,
    limit: int,
) -> Sequence[WebhookDelivery]:
    """List what was, or is to be, sent to an endpoint, newest first."""
    statement = select(WebhookDelivery).where(WebhookDelivery.endpoint_id == endpoint.id)
    if state is not None:
        statement = statement.where(WebhookDelivery.state == str(state))
    if before is not None:
        statement = statement.where(WebhookDelivery.id < before)
    return session.scalars(statement.order_by(WebhookDelivery.id.desc()).limit(limit)).all()


def list_attempts(session: Session, delivery: WebhookDelivery) -> Sequence[WebhookAttempt]:
    """List the attempts of a delivery, the first one first; of very many the last ones."""
    statement = select(WebhookAttempt).where(WebhookAttempt.delivery_id == delivery.id)
    found = session.scalars(statement.order_by(WebhookAttempt.number.desc()).limit(MOST_ATTEMPTS)).all()
    return found[::-1]


def redeliver(session: Session, delivery: WebhookDelivery) -> WebhookDelivery:
    """Send a delivery again, now and with all attempts anew, under the id that it always had.

    Raises:
        WebhookStateError: It is being sent at this moment.
    """
    if sql.REDELIVER.run(session.connection(), id=delivery.id).one_or_none() is None:
        raise WebhookStateError(f"webhook delivery {delivery.id} is being sent; wait for how that ends")
    session.refresh(delivery)
    return delivery


def send_test(session: Session, endpoint: WebhookEndpoint) -> WebhookDelivery:
    """Write a delivery that tries an endpoint.

    Raises:
        WebhookStateError: It is paused.
    """
    if endpoint.state != WebhookState.ENABLED:
        raise WebhookStateError(f"webhook endpoint {endpoint.id} is paused: {endpoint.pause_reason}; resume it first")
    test_id = str(uuid7())
    now: datetime = session.execute(select(func.now())).scalar_one()
    delivery = WebhookDelivery(
        endpoint_id=endpoint.id,
        event=TEST_EVENT,
        subject_id=test_id,
        payload={
            "type": TEST_EVENT,
            "timestamp": now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "data": {"id": test_id, "webhook": str(endpoint.id)},
        },
    )
    session.add(delivery)
    session.flush()
    session.refresh(delivery)
    return delivery
