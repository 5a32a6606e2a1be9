"""Dead letters on the wire."""

from typing import Any

from marshmallow import Schema, fields, validate

from schemas.answers import AnswerSchema
from schemas.client_names import NAME
from schemas.instants import Instant
from schemas.pages import PageQueryArgsSchema, next_cursor_field

#: Most that one request asks again; the next request goes on.
REDRIVE_LIMIT = 1_000
DEFAULT_REDRIVES = 100

EXAMPLE: dict[str, Any] = {
    "kind": "prediction",
    "id": "0198c9a2-7f3e-7cc1-a4b5-2f6d8e9a0b1c",
    "model": "fashion",
    "version": 1,
    "reason": "worker_crash",
    "detail": "the worker process died or hung while it held this prediction",
    "attempts": 2,
    "crashes": 2,
    "worker": "cuda-0@host",
    "device": "cuda:0",
    "created_at": "2026-11-20T12:00:00.000000+00:00",
    "finished_at": "2026-11-20T12:00:09.000000+00:00",
    "redriven_as": None,
}

PAGE_EXAMPLE: dict[str, Any] = {"data": [EXAMPLE], "next_cursor": None}

REDRIVE_EXAMPLE: dict[str, Any] = {"model": "fashion", "since": "2026-11-20T12:00:00+00:00"}

REDRIVEN_EXAMPLE: dict[str, Any] = {
    "data": [{"id": EXAMPLE["id"], "redriven_as": "0198c9b7-1c2d-7a01-8b9c-4d5e6f7a8b9c"}],
    "more": False,
}


class DeadLetterSchema(AnswerSchema):
    """A prediction or training that ended because its workers failed, not because of what was asked."""

    kind = fields.String(required=True, metadata={"description": "`prediction` or `training`."})
    id = fields.UUID(required=True, metadata={"description": "Of the prediction or training."})
    model = fields.String(required=True, metadata={"description": "Name of the model."})
    version = fields.Integer(
        required=True, allow_none=True, metadata={"description": "That was asked; null for a training."}
    )
    reason = fields.String(
        required=True,
        metadata={
            "description": "`worker_crash`: its process died or hung, the second time alone. `attempts_exhausted`: "
            "every attempt met a passing fault."
        },
    )
    detail = fields.String(required=True, allow_none=True, metadata={"description": "A sentence, for people."})
    attempts = fields.Integer(required=True, metadata={"description": "Times that a worker took it up."})
    crashes = fields.Integer(required=True, metadata={"description": "Of these, how often the process died or hung."})
    worker = fields.String(
        required=True, allow_none=True, metadata={"description": "That held it last; `torchqueue logs` has its words."}
    )
    device = fields.String(required=True, allow_none=True, metadata={"description": "Where that was."})
    created_at = fields.AwareDateTime(required=True, metadata={"description": "When it was accepted."})
    finished_at = fields.AwareDateTime(required=True, metadata={"description": "When it was given up."})
    redriven_as = fields.UUID(
        required=True,
        allow_none=True,
        metadata={"description": "The prediction that asks the same again; null while nobody has asked for one."},
    )


class DeadLetterPageSchema(AnswerSchema):
    """Dead letters, newest first."""

    data = fields.List(
        fields.Nested(DeadLetterSchema), required=True, metadata={"description": "At most `limit` of them."}
    )
    next_cursor = next_cursor_field()


class DeadLetterQueryArgsSchema(PageQueryArgsSchema):
    """Which dead letters."""

    model = fields.String(load_default=None, validate=NAME, metadata={"description": "Only those of this model."})


class RedriveSchema(Schema):
    """Which dead letters are asked again."""

    model = fields.String(load_default=None, validate=NAME, metadata={"description": "Only those of this model."})
    since = Instant(
        load_default=None, metadata={"description": "Only those accepted at this time or later; it names its zone."}
    )
    until = Instant(
        load_default=None, metadata={"description": "Only those accepted before this time, which names its zone."}
    )
    limit = fields.Integer(
        load_default=DEFAULT_REDRIVES,
        validate=validate.Range(min=1, max=REDRIVE_LIMIT),
        metadata={"description": "At most so many, the oldest first."},
    )


class RedrivenSchema(AnswerSchema):
    """A dead letter and the prediction that asks the same again."""

    id = fields.UUID(required=True, metadata={"description": "The dead letter."})
    redriven_as = fields.UUID(required=True, metadata={"description": "The new prediction."})


class RedrivenListSchema(AnswerSchema):
    """What was asked again just now."""

    data = fields.List(fields.Nested(RedrivenSchema), required=True, metadata={"description": "All of it."})
    more = fields.Boolean(
        required=True, metadata={"description": "Whether `limit` was reached: the same request goes on."}
    )
