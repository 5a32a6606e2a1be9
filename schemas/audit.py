"""The audit log on the wire."""

from typing import Any

from marshmallow import fields

from schemas.answers import AnswerSchema
from schemas.enums import AuditAction
from schemas.pages import NumberedPageQueryArgsSchema, next_cursor_field

EXAMPLE: dict[str, Any] = {
    "id": "42",
    "action": "update_key",
    "actor": "admin",
    "key": "7hQ2mZx0Ta",
    "subject": "keys/uC4kP9s1Wd",
    "remote_address": "192.0.2.7",
    "request_id": "0199c9a27f3e7cc1a4b52f6d8e9a0b1c",
    "before": {"max_queued": None},
    "after": {"max_queued": 1000},
    "created_at": "2026-11-20T12:00:00.000000+00:00",
}

PAGE_EXAMPLE: dict[str, Any] = {"data": [EXAMPLE], "next_cursor": None}


class AuditPageQueryArgsSchema(NumberedPageQueryArgsSchema):
    """Which actions."""

    action = fields.Enum(
        AuditAction, by_value=True, load_default=None, metadata={"description": "Only those of this kind."}
    )


class AuditEntrySchema(AnswerSchema):
    """Who did what, from where."""

    id = fields.String(required=True, metadata={"description": "Counts up."})
    action = fields.Enum(AuditAction, by_value=True, required=True, metadata={"description": "What was done."})
    actor = fields.String(required=True, metadata={"description": "Name of the key, or `command line`."})
    key = fields.String(required=True, allow_none=True, metadata={"description": "Id of the key; null: no key did it."})
    subject = fields.String(
        required=True, metadata={"description": "What it was done to, as a path such as `models/fashion/versions/2`."}
    )
    remote_address = fields.String(
        required=True, allow_none=True, metadata={"description": "Where the request came from; null: no request."}
    )
    request_id = fields.String(
        required=True,
        allow_none=True,
        metadata={"description": "The `X-Request-Id` of its answer and of the log; null: no request."},
    )
    before = fields.Dict(
        keys=fields.String(), required=True, allow_none=True, metadata={"description": "What the subject was."}
    )
    after = fields.Dict(
        keys=fields.String(), required=True, allow_none=True, metadata={"description": "What it became."}
    )
    created_at = fields.AwareDateTime(required=True, metadata={"description": "When."})


class AuditPageSchema(AnswerSchema):
    """Actions, newest first."""

    data = fields.List(
        fields.Nested(AuditEntrySchema), required=True, metadata={"description": "At most `limit` of them."}
    )
    next_cursor = next_cursor_field()
