"""How webhook endpoints and deliveries look over HTTP."""

from collections.abc import Sequence
from typing import Any

from schemas.enums import DeliveryState, WebhookEvent, WebhookState
from store.tables.webhook import WebhookAttempt, WebhookDelivery, WebhookEndpoint


def present_endpoint(row: WebhookEndpoint) -> dict[str, Any]:
    """Present an endpoint, without its secret."""
    return {
        "id": row.id,
        "url": row.url,
        "description": row.description,
        "events": [WebhookEvent(event) for event in row.events],
        "state": WebhookState(row.state),
        "pause_reason": row.pause_reason,
        "failures": row.failures,
        "failing_since": row.failing_since,
        "resting_until": row.resting_until,
        "previous_secret_until": row.previous_secret_until,
        "delivered": row.delivered_count,
        "failed_attempts": row.failed_count,
        "dead": row.dead_count,
        "created_at": row.created_at,
    }


def present_delivery(row: WebhookDelivery) -> dict[str, Any]:
    """Present a delivery."""
    state = DeliveryState(row.state)
    return {
        "id": row.id,
        "webhook": row.endpoint_id,
        "event": row.event,
        "subject": row.subject_id,
        "payload": row.payload,
        "state": state,
        "attempts": row.attempts,
        "next_attempt_at": row.next_attempt_at if state is DeliveryState.PENDING else None,
        "created_at": row.created_at,
        "finished_at": row.finished_at,
    }


def present_delivery_with_attempts(row: WebhookDelivery, attempts: Sequence[WebhookAttempt]) -> dict[str, Any]:
    """Present a delivery and how each attempt ended."""
    return present_delivery(row) | {
        "attempts_made": [
            {
                "number": attempt.number,
                "started_at": attempt.started_at,
                "duration_ms": attempt.duration_ms,
                "status_code": attempt.status_code,
                "error": attempt.error,
                "response": attempt.response,
            }
            for attempt in attempts
        ]
    }
