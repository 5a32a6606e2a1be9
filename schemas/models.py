"""Models and their versions on the wire."""

from typing import Any

from marshmallow import Schema, fields

EXAMPLE: dict[str, Any] = {
    "name": "fashion",
    "kind": "classification",
    "description": "Ten kinds of garment, from a photo.",
    "champion": 1,
    "input": {"type": "image", "size": 28, "channels": 1},
    "created_at": "2026-11-20T12:00:00.000000+00:00",
}

VERSION_EXAMPLE: dict[str, Any] = {
    "model": "fashion",
    "version": 1,
    "source": "bundled",
    "config": {"arch": "fashion-cnn", "labels": ["T-shirt/top", "Trouser"]},
    "weights_sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "weights_bytes": 1_234_567,
    "metrics": {"accuracy": 0.935},
    "created_at": "2026-11-20T12:00:00.000000+00:00",
}


class ModelSchema(Schema):
    """A name that clients call."""

    name = fields.String(required=True)
    kind = fields.String(required=True)
    description = fields.String(required=True)
    champion = fields.Integer(
        required=True, allow_none=True, metadata={"description": "Version that answers when a request names none."}
    )
    input = fields.Dict(
        keys=fields.String(), required=True, allow_none=True, metadata={"description": "What the champion takes."}
    )
    created_at = fields.AwareDateTime(required=True)


class ModelListSchema(Schema):
    """All models, by name."""

    data = fields.List(fields.Nested(ModelSchema), required=True)


class ModelVersionSchema(Schema):
    """One set of weights with the configuration that reads them; never changes."""

    model = fields.String(required=True)
    version = fields.Integer(required=True)
    source = fields.String(required=True, metadata={"description": "bundled, imported or trained"})
    config = fields.Dict(keys=fields.String(), required=True)
    weights_sha256 = fields.String(required=True)
    weights_bytes = fields.Integer(required=True)
    metrics = fields.Dict(keys=fields.String(), required=True)
    created_at = fields.AwareDateTime(required=True)


class ModelVersionListSchema(Schema):
    """A model's versions, newest first."""

    data = fields.List(fields.Nested(ModelVersionSchema), required=True)
