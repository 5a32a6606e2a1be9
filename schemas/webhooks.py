"""Webhooks on the wire: endpoints, deliveries, and what an endpoint is sent."""

from typing import Any

from marshmallow import Schema, ValidationError, fields, validate

from schemas.answers import AnswerSchema
from schemas.enums import DeliveryState, WebhookEvent, WebhookState
from schemas.pages import PageQueryArgsSchema, next_cursor_field

LONGEST_URL = 2048
LONGEST_DESCRIPTION = 500
LONGEST_REASON = 500

# Postgres' text cannot hold a NUL character.
NO_NUL = validate.ContainsNoneOf("\0", error="Must not hold a NUL character.")


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
    next_cursor = next_cursor_field("For `cursor`; null on the last page.")


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
    next_cursor = next_cursor_field("For `cursor`; null on the last page.")


class WebhookDeliveryQueryArgsSchema(PageQueryArgsSchema):
    """Which deliveries."""

    state = fields.Enum(
        DeliveryState, by_value=True, load_default=None, metadata={"description": "Only those in this state."}
    )
