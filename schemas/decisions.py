"""Promotions, rollbacks and the log of decisions on the wire."""

from typing import Any

from marshmallow import Schema, ValidationError, fields

from schemas.answers import AnswerSchema
from schemas.enums import Alias, DecisionAction
from schemas.pages import NumberedPageQueryArgsSchema, next_cursor_field

LONGEST_REASON = 1_000

PROMOTION_EXAMPLE: dict[str, Any] = {"reason": "better on the feedback of last week", "alias": "champion"}

ROLLBACK_EXAMPLE: dict[str, Any] = {"reason": "sandals are called sneakers since the promotion"}

EXAMPLE: dict[str, Any] = {
    "id": "17",
    "version": 2,
    "action": "promote",
    "actor": "admin",
    "reason": PROMOTION_EXAMPLE["reason"],
    "figures": {"before": 1},
    "created_at": "2026-11-20T12:00:00.000000+00:00",
}

PAGE_EXAMPLE: dict[str, Any] = {"data": [EXAMPLE], "next_cursor": None}


def check_text(value: str) -> None:
    """Check that Postgres can keep a text, and that it says something.

    Raises:
        ValidationError: It is blank, longer than `LONGEST_REASON`, or holds a NUL character.
    """
    if not value.strip() or "\0" in value or len(value) > LONGEST_REASON:
        raise ValidationError(f"Must be 1 to {LONGEST_REASON} characters that say why.")


REASON: dict[str, Any] = {
    "required": True,
    "validate": check_text,
    "metadata": {
        "description": "Why; kept in the log of decisions.",
        "minLength": 1,
        "maxLength": LONGEST_REASON,
    },
}


class RollbackSchema(Schema):
    """Why the champion before this one shall answer again."""

    reason = fields.String(**REASON)


class PromotionSchema(Schema):
    """Why a version shall have an alias."""

    reason = fields.String(**REASON)
    alias = fields.Enum(
        Alias,
        by_value=True,
        load_default=Alias.CHAMPION,
        metadata={
            "description": "`champion`, the default: it answers when a request names no version. `challenger`: workers "
            "keep it loaded, and it may become champion."
        },
    )


class DecisionPageQueryArgsSchema(NumberedPageQueryArgsSchema):
    """Which decisions."""

    action = fields.Enum(
        DecisionAction, by_value=True, load_default=None, metadata={"description": "Only those of this kind."}
    )


class DecisionSchema(AnswerSchema):
    """One change of what a model answers with, or of how that is decided."""

    id = fields.String(required=True, metadata={"description": "Counts up."})
    version = fields.Integer(
        required=True, allow_none=True, metadata={"description": "The version it is about; null for the whole model."}
    )
    action = fields.String(
        required=True,
        metadata={"description": "Such as `promote`, `rollback`, `call_off`, `load_failed`, `challenge`, `archive`."},
    )
    actor = fields.String(
        required=True,
        metadata={"description": "Name of the API key, or of the part of this system, that decided."},
    )
    reason = fields.String(required=True, metadata={"description": "Why, for people."})
    figures = fields.Dict(
        keys=fields.String(), required=True, metadata={"description": "What it was decided by; depends on the action."}
    )
    created_at = fields.AwareDateTime(required=True, metadata={"description": "When."})


class DecisionPageSchema(AnswerSchema):
    """Decisions about a model, newest first."""

    data = fields.List(
        fields.Nested(DecisionSchema), required=True, metadata={"description": "At most `limit` of them."}
    )
    next_cursor = next_cursor_field()
