"""The items of a similarity index on the wire."""

from typing import Any

from marshmallow import Schema, fields, validate

from schemas.answers import AnswerSchema
from schemas.enums import Priority
from schemas.pages import limit_field, next_cursor_field, number_cursor_field
from schemas.prediction_arguments import DEADLINE_LIMIT_MS
from schemas.predictions import EXAMPLE, ItemReferenceSchema

DIGEST = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"

PHOTO_URL = "/v1/models/fashion-similar/items/shop/42/photo"

ITEM_EXAMPLE: dict[str, Any] = {
    "catalog": "shop",
    "external_id": "42",
    "photo_sha256": DIGEST,
    "photo_url": PHOTO_URL,
    "put_at": "2026-11-20T12:00:00.000000+00:00",
    "indexed": True,
}

ITEMS_EXAMPLE: dict[str, Any] = {"count": 1, "data": [ITEM_EXAMPLE], "next_cursor": None}

PUT_EXAMPLE: dict[str, Any] = {
    **EXAMPLE,
    "model": "fashion-similar",
    "result": {"indexed": True, "photo_sha256": DIGEST, "photo_url": PHOTO_URL},
}


class IndexedItemSchema(ItemReferenceSchema):
    """An item that searches find by its photo."""

    photo_sha256 = fields.String(required=True, metadata={"description": "SHA-256 of its photo, in hex."})
    photo_url = fields.String(required=True, metadata={"description": "Where its photo can be read, with your key."})
    put_at = fields.AwareDateTime(
        required=True, metadata={"description": "When the request was accepted that put this photo."}
    )
    indexed = fields.Boolean(
        required=True,
        metadata={
            "description": "Whether the version that answers finds it. False for a while after a promotion, until the "
            "new version has seen the photo."
        },
    )


class IndexedItemPageSchema(AnswerSchema):
    """Items of an index, in the order in which they were first put."""

    count = fields.Integer(required=True, metadata={"description": "Your items in this index, on all pages."})
    data = fields.List(
        fields.Nested(IndexedItemSchema), required=True, metadata={"description": "At most `limit` of them."}
    )
    next_cursor = next_cursor_field()


class IndexedItemPageQueryArgsSchema(Schema):
    """Which page."""

    cursor = number_cursor_field(least=0)
    limit = limit_field("Length of a page.")


class IndexedItemPutQueryArgsSchema(Schema):
    """How urgent it is that the item can be found."""

    priority = fields.Enum(
        Priority,
        by_value=True,
        load_default=Priority.NORMAL,
        metadata={"description": "Who goes first when many wait; `bulk` for the filling of an index."},
    )
    deadline_ms = fields.Integer(
        load_default=None,
        validate=validate.Range(min=1, max=DEADLINE_LIMIT_MS),
        metadata={"description": "Expires when no worker took it up within so many milliseconds."},
    )
