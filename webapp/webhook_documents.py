"""What webhook endpoints are sent, for the OpenAPI document: its section `webhooks`."""

from typing import Any

from schemas.enums import TEST_EVENT, WebhookEvent
from schemas.webhook_examples import DELIVERY_ID, PAYLOADS

SUMMARIES = {
    WebhookEvent.PREDICTION_SUCCEEDED: "A prediction has its answer",
    WebhookEvent.PREDICTION_FAILED: "A prediction failed",
    WebhookEvent.PREDICTION_CANCELED: "A prediction was cancelled",
    WebhookEvent.PREDICTION_EXPIRED: "A prediction expired before a worker took it up",
    WebhookEvent.TRAINING_SUCCEEDED: "A training made a version",
    WebhookEvent.TRAINING_FAILED: "A training failed",
    WebhookEvent.TRAINING_CANCELED: "A training was cancelled",
    WebhookEvent.VERSION_PROMOTED: "A version became the champion of its model",
    TEST_EVENT: "Somebody tries the endpoint",
}

HEADERS: list[dict[str, Any]] = [
    {
        "name": "webhook-id",
        "in": "header",
        "required": True,
        "description": "The same in every attempt: what was seen before is a repeat.",
        "schema": {"type": "string", "examples": [DELIVERY_ID]},
    },
    {
        "name": "webhook-timestamp",
        "in": "header",
        "required": True,
        "description": "When this attempt began, in Unix seconds; refuse what is minutes off.",
        "schema": {"type": "string", "examples": ["1763640000"]},
    },
    {
        "name": "webhook-signature",
        "in": "header",
        "required": True,
        "description": "`v1,` and the base64 of HMAC-SHA256 over `{webhook-id}.{webhook-timestamp}.{body}`; while a "
        "secret is rotated one for each of the two, with a space between.",
        "schema": {"type": "string", "examples": ["v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="]},
    },
]

IDENTIFIER = {"type": "string", "format": "uuid", "description": "Of what it happened to."}
MODEL = {"type": "string", "description": "Name of the model."}

ENDED: dict[str, Any] = {
    "type": "object",
    "required": ["id", "status", "error_code", "model", "version"],
    "properties": {
        "id": IDENTIFIER,
        "status": {"type": "string", "description": "How it ended."},
        "error_code": {"type": ["string", "null"], "description": "Why it failed; null unless it did."},
        "model": MODEL,
        "version": {
            "type": ["integer", "null"],
            "description": "That answered, or that a training made; null where there is none.",
        },
    },
}

PROMOTED: dict[str, Any] = {
    "type": "object",
    "required": ["id", "model", "version", "previous_version"],
    "properties": {
        "id": {**IDENTIFIER, "description": "Of this promotion."},
        "model": MODEL,
        "version": {"type": "integer", "description": "That answers now."},
        "previous_version": {"type": ["integer", "null"], "description": "That answered before; null: none."},
    },
}

TESTED: dict[str, Any] = {
    "type": "object",
    "required": ["id", "webhook"],
    "properties": {
        "id": {**IDENTIFIER, "description": "Of this test."},
        "webhook": {"type": "string", "format": "uuid", "description": "The endpoint that is tried."},
    },
}


def _example(event: str) -> dict[str, Any]:
    """The payload of an event; those that end alike differ in a word."""
    if event in PAYLOADS:
        return PAYLOADS[event]
    subject, _, status = event.partition(".")
    alike = PAYLOADS[f"{subject}.succeeded"]
    code = "internal" if status == "failed" else None
    version = alike["data"]["version"] if subject == "prediction" else None
    return alike | {"type": event, "data": alike["data"] | {"status": status, "error_code": code, "version": version}}


def _data(event: str) -> dict[str, Any]:
    return {WebhookEvent.VERSION_PROMOTED: PROMOTED, TEST_EVENT: TESTED}.get(event, ENDED)


def _document(event: str) -> dict[str, Any]:
    payload = {
        "type": "object",
        "required": ["type", "timestamp", "data"],
        "properties": {
            "type": {"type": "string", "enum": [event]},
            "timestamp": {"type": "string", "format": "date-time", "description": "When it happened."},
            "data": _data(event),
        },
    }
    return {
        "post": {
            "operationId": f"on_{event.replace('.', '_')}",
            "summary": SUMMARIES[event],
            "description": "Sent at least once, in no promised order. It holds no answer: read that with your key.",
            "tags": ["events"],
            "security": [],
            "parameters": HEADERS,
            "requestBody": {
                "required": True,
                "description": "Verify the signature over these very bytes before you read them.",
                "content": {"application/json": {"schema": payload, "example": _example(event)}},
            },
            "responses": {
                "2XX": {"description": "Received; it is not sent again."},
                "410": {"description": "Send nothing more: the endpoint is paused."},
                "default": {
                    "description": "Not received: it is sent again, ten times in 76 hours. `Retry-After` is honoured "
                    "with 429 and 503; redirects are not followed."
                },
            },
        }
    }


#: By event.
WEBHOOKS: dict[str, Any] = {str(event): _document(event) for event in SUMMARIES}
