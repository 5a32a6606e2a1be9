"""API keys on the wire. Their secrets are shown once, when they are made."""

from typing import Any

from marshmallow import Schema, ValidationError, fields, validate

from schemas.answers import AnswerSchema
from schemas.enums import Scope
from schemas.instants import Instant
from schemas.pages import NumberedPageQueryArgsSchema, next_cursor_field, number_cursor_field

LONGEST_NAME = 200

#: No limit needs more, and Postgres' integers hold no more.
MOST = 2**31 - 1

#: How long the secret before a rotation may go on working, in seconds: 30 days.
LONGEST_GRACE_S = 30 * 24 * 3600

SHOWN: dict[str, Any] = {
    "id": "7hQ2mZx0Ta",
    "name": "shop",
    "scopes": ["predict", "read"],
    "created_at": "2026-11-20T12:00:00.000000+00:00",
    "expires_at": None,
    "revoked_at": None,
    "rotated_at": None,
    "last_used_at": "2026-11-20T12:30:00.000000+00:00",
    "rate_per_minute": 6000,
    "burst": 200,
    "max_concurrent": 64,
    "max_queued": 1000,
}

NEW_EXAMPLE: dict[str, Any] = {
    "name": "shop",
    "scopes": ["predict", "read"],
    "rate_per_minute": 6000,
    "burst": 200,
    "max_concurrent": 64,
    "max_queued": 1000,
}

CREATED_EXAMPLE: dict[str, Any] = {
    **SHOWN,
    "last_used_at": None,
    "key": f"tq_{SHOWN['id']}_the-secret-is-shown-this-once_5f3a91c2",
}

ROTATED_EXAMPLE: dict[str, Any] = {**CREATED_EXAMPLE, "rotated_at": "2026-11-20T13:00:00.000000+00:00"}

REVOKED_EXAMPLE: dict[str, Any] = {**SHOWN, "revoked_at": "2026-11-20T13:00:00.000000+00:00"}

PAGE_EXAMPLE: dict[str, Any] = {"data": [SHOWN], "next_cursor": None}


def check_name(value: str) -> None:
    """Check that Postgres can keep a name, and that it says something.

    Raises:
        ValidationError: It is blank, longer than `LONGEST_NAME`, or holds a NUL character.
    """
    if not value.strip() or "\0" in value or len(value) > LONGEST_NAME:
        raise ValidationError(f"Must be 1 to {LONGEST_NAME} characters.")


def _limit(description: str) -> dict[str, Any]:
    return {
        "allow_none": True,
        "validate": validate.Range(min=1, max=MOST),
        "metadata": {"description": f"{description} Null: unlimited."},
    }


RATE = _limit("Requests in a minute, in the mean.")
BURST = _limit("Requests at once before that mean counts; as many as in a minute where it is not said.")
CONCURRENT = _limit("Requests under way at once.")
QUEUED = _limit("Predictions that wait at once.")
NAME: dict[str, Any] = {
    "validate": check_name,
    "metadata": {"description": "What you call it.", "minLength": 1, "maxLength": LONGEST_NAME},
}
SCOPES: dict[str, Any] = {
    "validate": validate.Length(min=1, max=len(Scope)),
    "metadata": {"description": "What the key may do. `admin` includes all others.", "uniqueItems": True},
}
EXPIRES: dict[str, Any] = {
    "allow_none": True,
    "metadata": {"description": "From then on the key is refused. Null: never."},
}


class NewKeySchema(Schema):
    """A key that shall be made."""

    name = fields.String(required=True, **NAME)
    scopes = fields.List(fields.Enum(Scope, by_value=True), required=True, **SCOPES)
    expires_at = Instant(load_default=None, **EXPIRES)
    rate_per_minute = fields.Integer(load_default=None, strict=True, **RATE)
    burst = fields.Integer(load_default=None, strict=True, **BURST)
    max_concurrent = fields.Integer(load_default=None, strict=True, **CONCURRENT)
    max_queued = fields.Integer(load_default=None, strict=True, **QUEUED)


class KeyChangesSchema(Schema):
    """What shall change of a key. What is left out stays."""

    name = fields.String(**NAME)
    scopes = fields.List(fields.Enum(Scope, by_value=True), **SCOPES)
    expires_at = Instant(**EXPIRES)
    rate_per_minute = fields.Integer(strict=True, **RATE)
    burst = fields.Integer(strict=True, **BURST)
    max_concurrent = fields.Integer(strict=True, **CONCURRENT)
    max_queued = fields.Integer(strict=True, **QUEUED)


class RotationSchema(Schema):
    """How a key gets another secret."""

    grace_s = fields.Integer(
        load_default=24 * 3600,
        strict=True,
        validate=validate.Range(min=0, max=LONGEST_GRACE_S),
        metadata={
            "description": "How long the secret of until now works beside the new one, in seconds; a day by default, "
            "0 ends it at once."
        },
    )


class KeyPageQueryArgsSchema(NumberedPageQueryArgsSchema):
    """Which keys."""

    cursor = number_cursor_field(least=0, load_default=0)


class KeySchema(AnswerSchema):
    """An API key, without its secret."""

    id = fields.String(required=True, metadata={"description": "The part of the key that may be shown."})
    name = fields.String(required=True, metadata={"description": "What you call it."})
    scopes = fields.List(fields.Enum(Scope, by_value=True), required=True, metadata={"description": "What it may do."})
    created_at = fields.AwareDateTime(required=True, metadata={"description": "When it was made."})
    expires_at = fields.AwareDateTime(
        required=True, allow_none=True, metadata={"description": "From then on it is refused; null: never."}
    )
    revoked_at = fields.AwareDateTime(
        required=True, allow_none=True, metadata={"description": "Since when it is refused for good; null: it is not."}
    )
    rotated_at = fields.AwareDateTime(
        required=True, allow_none=True, metadata={"description": "When its secret was made; null: with the key."}
    )
    last_used_at = fields.AwareDateTime(
        required=True, allow_none=True, metadata={"description": "Right to a minute; null: never."}
    )
    rate_per_minute = fields.Integer(
        required=True, allow_none=True, metadata={"description": "Requests in a minute; null: unlimited."}
    )
    burst = fields.Integer(
        required=True, allow_none=True, metadata={"description": "Requests at once before that counts."}
    )
    max_concurrent = fields.Integer(
        required=True, allow_none=True, metadata={"description": "Requests under way at once; null: unlimited."}
    )
    max_queued = fields.Integer(
        required=True, allow_none=True, metadata={"description": "Predictions that wait at once; null: unlimited."}
    )


class CreatedKeySchema(KeySchema):
    """An API key with its secret, which nobody can read again."""

    key = fields.String(required=True, metadata={"description": "The whole key. It is shown this once."})


class KeyPageSchema(AnswerSchema):
    """Keys, oldest first."""

    data = fields.List(fields.Nested(KeySchema), required=True, metadata={"description": "At most `limit` of them."})
    next_cursor = next_cursor_field()
