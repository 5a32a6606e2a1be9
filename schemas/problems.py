"""Errors on the wire: RFC 9457 problem details."""

from dataclasses import dataclass
from typing import Any

from marshmallow import fields

from schemas.answers import AnswerSchema

CONTENT_TYPE = "application/problem+json"


@dataclass(frozen=True, slots=True)
class ProblemAnswer:
    """A problem as it goes out."""

    status: int
    document: dict[str, Any]
    headers: dict[str, str]


class ProblemSchema(AnswerSchema):
    """What went wrong and what to do about it."""

    type = fields.String(
        required=True, metadata={"description": "Stable slug, for programs.", "examples": ["unknown-model"]}
    )
    title = fields.String(required=True, metadata={"description": "The status in words.", "examples": ["Not Found"]})
    status = fields.Integer(required=True, metadata={"description": "The status of the answer.", "examples": [404]})
    detail = fields.String(
        required=True,
        metadata={
            "description": "A sentence that says what to do.",
            "examples": ["there is no model 'fashon'; GET /v1/models lists them"],
        },
    )
    field = fields.String(metadata={"description": "The part of the request at fault, where there is one."})
    prediction = fields.UUID(metadata={"description": "The prediction that tells more, where there is one."})
