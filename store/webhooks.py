"""Webhook endpoints: making them, changing them, reading them. What is sent to them is `store.delivery_ledger`'s."""

import base64
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from ipaddress import ip_address
from uuid import UUID

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session
from uuid_utils.compat import uuid7

from schemas.enums import WebhookEvent, WebhookState
from store.addresses import OutwardRules, read_url
from store.errors import UnknownWebhookError, UrlRefusedError, WebhookLimitError, WebhookUrlError
from store.secret_box import SecretBox
from store.tables.api_key import ApiKey
from store.tables.webhook import WebhookEndpoint

#: Endpoints of one key: every end of a prediction may write a row for each.
MOST_ENDPOINTS = 20

SECRET_PREFIX = "whsec_"  # noqa: S105 - what every secret begins with

#: Standard Webhooks asks for 24 to 64.
SECRET_BYTES = 32

#: How long the secret before a rotation signs as well.
ROTATION_GRACE = timedelta(hours=24)


@dataclass(frozen=True, kw_only=True, slots=True)
class EndpointValues:
    """What the owner of an endpoint decides; None leaves it as it is."""

    url: str | None = None
    description: str | None = None
    events: Sequence[WebhookEvent] | None = None


def check_webhook_url(url: str, rules: OutwardRules) -> str:
    """Check what can be checked of a URL without asking anybody; the rest is checked whenever something is sent.

    Returns:
        It, in the form in which it is kept.

    Raises:
        WebhookUrlError: It is none, or names what may not be reached.
    """
    try:
        target = read_url(url, rules)
    except UrlRefusedError as error:
        raise WebhookUrlError(str(error)) from error
    try:
        address = ip_address(target.host)
    except ValueError:
        return target.url
    if not rules.allows(address):
        raise WebhookUrlError(
            f"leads to {address}, which is no address of the public internet; TORCHQUEUE_OUTWARD_NETWORKS allows others"
        )
    return target.url


def create_endpoint(
    session: Session, box: SecretBox, *, api_key_id: int, url: str, description: str, events: Sequence[WebhookEvent]
) -> tuple[WebhookEndpoint, str]:
    """Make an endpoint for a key; the URL was checked.

    Returns:
        The row, and its secret: the only time that anybody sees it.

    Raises:
        WebhookLimitError: The key has as many as it may.
    """
    # One at a time for each key, so that they are counted right.
    session.execute(select(ApiKey.id).where(ApiKey.id == api_key_id).with_for_update(key_share=True))
    if len(session.scalars(_visible(api_key_id).limit(MOST_ENDPOINTS)).all()) == MOST_ENDPOINTS:
        raise WebhookLimitError(f"a key may have {MOST_ENDPOINTS} webhook endpoints; delete one that nobody needs")
    endpoint_id, secret = uuid7(), _make_secret()
    row = WebhookEndpoint(
        id=endpoint_id,
        api_key_id=api_key_id,
        url=url,
        description=description,
        events=_sorted(events),
        secret=box.seal(secret, endpoint_id),
    )
    session.add(row)
    session.flush()
    session.refresh(row)
    return row, secret


def get_endpoint(session: Session, endpoint_id: UUID, *, api_key_id: int | None, lock: bool = False) -> WebhookEndpoint:
    """Return an endpoint.

    Args:
        session: Where.
        endpoint_id: Which.
        api_key_id: The tenant that may see it; None for any.
        lock: Whether it is to be changed.

    Raises:
        UnknownWebhookError: There is none, or it is another tenant's.
    """
    statement = _visible(api_key_id).where(WebhookEndpoint.id == endpoint_id)
    # No stronger: whoever writes a delivery for it at this moment must not wait for us.
    row = session.scalar(statement.with_for_update(key_share=True) if lock else statement)
    if row is None:
        raise UnknownWebhookError(f"there is no webhook endpoint {endpoint_id}; GET /v1/webhooks lists them")
    return row


def list_endpoints(
    session: Session, *, api_key_id: int | None, before: UUID | None = None, limit: int = 100
) -> Sequence[WebhookEndpoint]:
    """List endpoints, newest first; those of one key, or of all."""
    statement = _visible(api_key_id).order_by(WebhookEndpoint.id.desc()).limit(limit)
    if before is not None:
        statement = statement.where(WebhookEndpoint.id < before)
    return session.scalars(statement).all()


def change_endpoint(session: Session, endpoint: WebhookEndpoint, values: EndpointValues) -> None:
    """Change what is given. Another URL begins without the failures of the one before."""
    if values.url is not None and values.url != endpoint.url:
        endpoint.url = values.url
        _forget_failures(endpoint)
    if values.description is not None:
        endpoint.description = values.description
    if values.events is not None:
        endpoint.events = _sorted(values.events)
    session.flush()


def delete_endpoint(session: Session, endpoint: WebhookEndpoint) -> None:
    """Delete an endpoint: nothing more is sent, and its secret is gone. A beat job removes its deliveries."""
    endpoint.deleted_at = session.execute(select(func.now())).scalar_one()
    endpoint.secret = b""
    endpoint.previous_secret = None
    session.flush()


def rotate_secret(session: Session, box: SecretBox, endpoint: WebhookEndpoint) -> str:
    """Give an endpoint a new secret; the one of until now signs beside it for a day.

    Returns:
        The new secret: the only time that anybody sees it.
    """
    secret = _make_secret()
    endpoint.previous_secret = endpoint.secret
    endpoint.previous_secret_until = session.execute(select(func.now() + ROTATION_GRACE)).scalar_one()
    endpoint.secret = box.seal(secret, endpoint.id)
    session.flush()
    return secret


def pause_endpoint(session: Session, endpoint: WebhookEndpoint, reason: str) -> None:
    """Send nothing until it is resumed. Pausing it again changes the reason."""
    endpoint.state = str(WebhookState.PAUSED)
    endpoint.pause_reason = reason
    session.flush()


def resume_endpoint(session: Session, endpoint: WebhookEndpoint) -> None:
    """Send again, first of all what waits. Resuming one that is not paused closes its breaker."""
    endpoint.state = str(WebhookState.ENABLED)
    endpoint.pause_reason = None
    _forget_failures(endpoint)
    session.flush()


def _visible(api_key_id: int | None) -> Select[WebhookEndpoint]:
    statement = select(WebhookEndpoint).where(WebhookEndpoint.deleted_at.is_(None))
    return statement if api_key_id is None else statement.where(WebhookEndpoint.api_key_id == api_key_id)


def _forget_failures(endpoint: WebhookEndpoint) -> None:
    endpoint.failures = 0
    endpoint.failing_since = None
    endpoint.resting_until = None


def _make_secret() -> str:
    return SECRET_PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def _sorted(events: Sequence[WebhookEvent]) -> list[str]:
    return sorted({str(event) for event in events})
