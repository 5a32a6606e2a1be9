"""Webhooks on the wire: endpoints, deliveries, and what an endpoint is sent."""

from typing import Any

from marshmallow import Schema, ValidationError, fields, validate

from schemas.answers import AnswerSchema
from schemas.enums import TEST_EVENT, DeliveryState, WebhookEvent, WebhookState
from schemas.predictions import EXAMPLE as PREDICTION_EXAMPLE
from schemas.predictions import PageQueryArgsSchema

ID = "0199b1d0-9a31-7c44-8d0e-52b1f6a7c3d9"
DELIVERY_ID = "0199b1d1-03be-7d12-b7a4-6f0c2f9e8a55"

LONGEST_URL = 2048
LONGEST_DESCRIPTION = 500
LONGEST_REASON = 500

# Postgres' text cannot hold a NUL character.
NO_NUL = validate.ContainsNoneOf("\0", error="Must not hold a NUL character.")

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


def check_different(events: list[WebhookEvent]) -> None:
    """Refuse an event that is named twice."""
    if len(set(events)) != len(events):
        raise ValidationError("Must name each event once.")


def _url(**options: Any) -> fields.String:
    return fields.String(
        validate=[validate.Length(1, LONGEST_URL), NO_NUL],
        metadata={
            "description": "Where events are sent by POST: `http` or `https`, on the public internet, on port 80 or "
            "443 unless the operator allows others."
        },
        **options,
    )


def _description(**options: Any) -> fields.String:
    return fields.String(
        validate=[validate.Length(0, LONGEST_DESCRIPTION), NO_NUL], metadata={"description": "For people."}, **options
    )


def _events(**options: Any) -> fields.List[WebhookEvent]:
    return fields.List(
        fields.Enum(WebhookEvent, by_value=True),
        validate=[validate.Length(0, len(WebhookEvent)), check_different],
        metadata={
            "description": "Sent for every prediction of your key that ends so, and for every training and promotion. "
            "An endpoint without any is told of the predictions that name it as `webhook`."
        },
        **options,
    )


class WebhookRequestSchema(Schema):
    """A webhook endpoint to be made."""

    url = _url(required=True)
    description = _description(load_default="")
    events = _events(load_default=list)


class WebhookChangeSchema(Schema):
    """What is to be changed of a webhook endpoint; what is left out stays."""

    url = _url(load_default=None)
    description = _description(load_default=None)
    events = _events(load_default=None)


class WebhookPauseSchema(Schema):
    """Why an endpoint is paused."""

    reason = fields.String(
        load_default="paused by its owner",
        validate=[validate.Length(1, LONGEST_REASON), NO_NUL],
        metadata={"description": "For people."},
    )


class WebhookSchema(AnswerSchema):
    """A URL that hears of what happens."""

    id = fields.UUID(required=True, metadata={"description": "Name it as `webhook` in a prediction."})
    url = fields.String(required=True, metadata={"description": "Where events are sent by POST."})
    description = fields.String(required=True, metadata={"description": "For people."})
    events = fields.List(
        fields.Enum(WebhookEvent, by_value=True),
        required=True,
        metadata={"description": "What it is told of, beside the predictions that name it."},
    )
    state = fields.Enum(WebhookState, by_value=True, required=True)
    pause_reason = fields.String(
        required=True, allow_none=True, metadata={"description": "Why it is paused; null while it is enabled."}
    )
    failures = fields.Integer(required=True, metadata={"description": "Attempts in a row that failed."})
    failing_since = fields.AwareDateTime(
        required=True,
        allow_none=True,
        metadata={"description": "When these began; after 5 days without a success it is paused."},
    )
    resting_until = fields.AwareDateTime(
        required=True,
        allow_none=True,
        metadata={"description": "Nothing is sent before, since it fails or asked for time."},
    )
    previous_secret_until = fields.AwareDateTime(
        required=True, allow_none=True, metadata={"description": "Until then the secret before this one signs as well."}
    )
    delivered = fields.Integer(required=True, metadata={"description": "Deliveries that arrived."})
    failed_attempts = fields.Integer(required=True, metadata={"description": "Attempts that failed."})
    dead = fields.Integer(required=True, metadata={"description": "Deliveries that were given up."})
    created_at = fields.AwareDateTime(required=True, metadata={"description": "When it was made."})


class WebhookWithSecretSchema(WebhookSchema):
    """A webhook endpoint with its secret."""

    secret = fields.String(
        required=True, metadata={"description": "Verifies what it is sent. It is shown this once: keep it."}
    )


class WebhookPageSchema(AnswerSchema):
    """Webhook endpoints, newest first."""

    data = fields.List(fields.Nested(WebhookSchema), required=True, metadata={"description": "At most `limit`."})
    next_cursor = fields.String(
        required=True, allow_none=True, metadata={"description": "For `cursor`; null on the last page."}
    )


class WebhookAttemptSchema(AnswerSchema):
    """One attempt to deliver."""

    number = fields.Integer(required=True, metadata={"description": "1, 2, 3 ..."})
    started_at = fields.AwareDateTime(required=True, metadata={"description": "When."})
    duration_ms = fields.Float(
        required=True, allow_none=True, metadata={"description": "Milliseconds; null: it runs, or its sender died."}
    )
    status_code = fields.Integer(
        required=True, allow_none=True, metadata={"description": "What the endpoint answered; null: nothing."}
    )
    error = fields.String(
        required=True, allow_none=True, metadata={"description": "What went wrong; null: it arrived, or runs."}
    )
    response = fields.String(
        required=True, allow_none=True, metadata={"description": "How the answer's body begins, at most 1 KiB."}
    )


class WebhookDeliverySchema(AnswerSchema):
    """One event for one endpoint."""

    id = fields.UUID(
        required=True,
        metadata={"description": "The `webhook-id` that it is sent with, the same however often it is sent."},
    )
    webhook = fields.UUID(required=True, metadata={"description": "The endpoint."})
    event = fields.String(required=True, metadata={"description": "What happened, e.g. `prediction.succeeded`."})
    subject = fields.String(required=True, metadata={"description": "Id of what it happened to."})
    payload = fields.Dict(keys=fields.String(), required=True, metadata={"description": "The body that is sent."})
    state = fields.Enum(DeliveryState, by_value=True, required=True)
    attempts = fields.Integer(required=True, metadata={"description": "How often it was tried."})
    next_attempt_at = fields.AwareDateTime(
        required=True, allow_none=True, metadata={"description": "Not before; null unless it is pending."}
    )
    created_at = fields.AwareDateTime(required=True, metadata={"description": "When it happened."})
    finished_at = fields.AwareDateTime(
        required=True, allow_none=True, metadata={"description": "When it was delivered or given up."}
    )


class WebhookDeliveryWithAttemptsSchema(WebhookDeliverySchema):
    """One event for one endpoint, with every attempt to deliver it."""

    attempts_made = fields.List(
        fields.Nested(WebhookAttemptSchema),
        required=True,
        metadata={"description": "The first one first; of more than 100 the last 100."},
    )


class WebhookDeliveryPageSchema(AnswerSchema):
    """Deliveries, newest first."""

    data = fields.List(
        fields.Nested(WebhookDeliverySchema), required=True, metadata={"description": "At most `limit`."}
    )
    next_cursor = fields.String(
        required=True, allow_none=True, metadata={"description": "For `cursor`; null on the last page."}
    )


class WebhookDeliveryQueryArgsSchema(PageQueryArgsSchema):
    """Which deliveries."""

    state = fields.Enum(
        DeliveryState, by_value=True, load_default=None, metadata={"description": "Only those in this state."}
    )
