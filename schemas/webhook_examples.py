"""Examples of webhooks on the wire, for the OpenAPI document."""

from typing import Any

from schemas.enums import TEST_EVENT, WebhookEvent
from schemas.predictions import EXAMPLE as PREDICTION_EXAMPLE

ID = "0199b1d0-9a31-7c44-8d0e-52b1f6a7c3d9"
DELIVERY_ID = "0199b1d1-03be-7d12-b7a4-6f0c2f9e8a55"

REQUEST_EXAMPLE: dict[str, Any] = {
    "url": "https://shop.example.com/hooks/torchqueue",
    "description": "tells the shop",
    "events": ["prediction.succeeded", "prediction.failed"],
}

EXAMPLE: dict[str, Any] = {
    "id": ID,
    **REQUEST_EXAMPLE,
    "state": "enabled",
    "pause_reason": None,
    "failures": 0,
    "failing_since": None,
    "resting_until": None,
    "previous_secret_until": None,
    "delivered": 1250,
    "failed_attempts": 3,
    "dead": 0,
    "created_at": "2026-11-20T12:00:00.000000+00:00",
}

CREATED_EXAMPLE: dict[str, Any] = {
    **EXAMPLE,
    "delivered": 0,
    "failed_attempts": 0,
    "secret": "whsec_bm90IGEgc2VjcmV0LCBidXQgYXMgbG9uZyBhcyBvbmU=",
}

ROTATED_EXAMPLE: dict[str, Any] = {
    **EXAMPLE,
    "previous_secret_until": "2026-11-22T12:00:00.000000+00:00",
    "secret": CREATED_EXAMPLE["secret"],
}

PAUSED_EXAMPLE: dict[str, Any] = {**EXAMPLE, "state": "paused", "pause_reason": "the shop moves"}

#: What an endpoint is sent, by event.
PAYLOADS: dict[str, dict[str, Any]] = {
    WebhookEvent.PREDICTION_SUCCEEDED: {
        "type": "prediction.succeeded",
        "timestamp": "2026-11-20T12:00:00.123456Z",
        "data": {
            "id": PREDICTION_EXAMPLE["id"],
            "status": "succeeded",
            "error_code": None,
            "model": "fashion",
            "version": 1,
        },
    },
    WebhookEvent.TRAINING_SUCCEEDED: {
        "type": "training.succeeded",
        "timestamp": "2026-11-20T12:00:00.123456Z",
        "data": {
            "id": "0199b1d0-4c2e-7a51-9a6e-3d2f8f0c7b11",
            "status": "succeeded",
            "error_code": None,
            "model": "fashion",
            "version": 2,
        },
    },
    WebhookEvent.VERSION_PROMOTED: {
        "type": "version.promoted",
        "timestamp": "2026-11-20T12:00:00.123456Z",
        "data": {
            "id": "0199b1d0-7f02-7e60-8a4d-1c9b3e5f7a21",
            "model": "fashion",
            "version": 2,
            "previous_version": 1,
        },
    },
    TEST_EVENT: {
        "type": TEST_EVENT,
        "timestamp": "2026-11-20T12:00:00.123456Z",
        "data": {"id": "0199b1d2-55aa-7b3c-9d1e-2f4a6c8e0b13", "webhook": ID},
    },
}

DELIVERY_EXAMPLE: dict[str, Any] = {
    "id": DELIVERY_ID,
    "webhook": ID,
    "event": "prediction.succeeded",
    "subject": PREDICTION_EXAMPLE["id"],
    "payload": PAYLOADS[WebhookEvent.PREDICTION_SUCCEEDED],
    "state": "delivered",
    "attempts": 1,
    "next_attempt_at": None,
    "created_at": "2026-11-20T12:00:00.123456+00:00",
    "finished_at": "2026-11-20T12:00:00.423456+00:00",
}

PENDING_EXAMPLE: dict[str, Any] = {
    **DELIVERY_EXAMPLE,
    "state": "pending",
    "next_attempt_at": "2026-11-21T09:00:00.000000+00:00",
    "finished_at": None,
}

TEST_EXAMPLE: dict[str, Any] = {
    **PENDING_EXAMPLE,
    "event": TEST_EVENT,
    "subject": PAYLOADS[TEST_EVENT]["data"]["id"],
    "payload": PAYLOADS[TEST_EVENT],
    "attempts": 0,
}

DELIVERY_WITH_ATTEMPTS_EXAMPLE: dict[str, Any] = {
    **DELIVERY_EXAMPLE,
    "attempts_made": [
        {
            "number": 1,
            "started_at": "2026-11-20T12:00:00.301000+00:00",
            "duration_ms": 122.4,
            "status_code": 204,
            "error": None,
            "response": "",
        }
    ],
}

PAGE_EXAMPLE: dict[str, Any] = {"data": [EXAMPLE], "next_cursor": None}
DELIVERIES_EXAMPLE: dict[str, Any] = {"data": [DELIVERY_EXAMPLE], "next_cursor": None}
