"""Models and their versions on the wire."""

from typing import Any

from marshmallow import fields

from schemas.answers import AnswerSchema
from schemas.model_settings import EXAMPLE as SETTINGS_EXAMPLE
from schemas.model_settings import ModelSettingsSchema

EXAMPLE: dict[str, Any] = {
    "name": "fashion",
    "kind": "classification",
    "description": "Ten kinds of garment, from a photo.",
    "champion": 1,
    "input": {
        "type": "image",
        "size": 28,
        "channels": 1,
        "mean": [0.286],
        "std": [0.353],
        "preparation": "garment",
    },
    "settings": SETTINGS_EXAMPLE,
    "metric": {"name": "test_accuracy", "value": 0.9388},
    "created_at": "2026-11-20T12:00:00.000000+00:00",
}

#: An input of `diamond-price`.
RECORD_EXAMPLE: dict[str, Any] = {
    "carat": 0.7,
    "cut": "Ideal",
    "color": "E",
    "clarity": "VS1",
    "depth": 61.5,
    "table": 56,
    "x": 5.7,
    "y": 5.7,
    "z": 3.5,
}

VERSION_EXAMPLE: dict[str, Any] = {
    "model": "fashion",
    "version": 1,
    "source": "bundled",
    "config": {
        "kind": "classification",
        "arch": "fashion-cnn",
        "arch_options": {"widths": [32, 64, 128]},
        "input": {"type": "image", "size": 28, "channels": 1, "preparation": "garment"},
        "labels": ["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"],
        "max_batch": 64,
    },
    "weights_sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "weights_bytes": 1_234_567,
    "metrics": {"test_items": 10_000, "test_accuracy": 0.9388},
    "created_at": "2026-11-20T12:00:00.000000+00:00",
}


class MetricSchema(AnswerSchema):
    """One measured figure."""

    name = fields.String(required=True, metadata={"description": "As in the metrics of the version."})
    value = fields.Float(required=True, metadata={"description": "Measured on held-out data, as a rule."})


class ModelSchema(AnswerSchema):
    """A name that clients call."""

    name = fields.String(required=True, metadata={"description": "As it stands in the path of its predictions."})
    kind = fields.String(required=True, metadata={"description": "What it answers, e.g. `classification`."})
    description = fields.String(required=True, metadata={"description": "A sentence for people."})
    champion = fields.Integer(
        required=True,
        allow_none=True,
        metadata={"description": "Version that answers when a request names none; null when there is none yet."},
    )
    input = fields.Dict(
        keys=fields.String(),
        required=True,
        allow_none=True,
        metadata={
            "description": "What the champion takes: `type` is `image`, `vector` or `record`; a record lists its "
            "`fields` with their ranges or choices. Null without a champion."
        },
    )
    settings = fields.Nested(ModelSettingsSchema, required=True)
    metric = fields.Nested(
        MetricSchema,
        required=True,
        allow_none=True,
        metadata={"description": "The champion's figure that matters most for its kind; null where none was measured."},
    )
    created_at = fields.AwareDateTime(required=True, metadata={"description": "When it was registered."})


class ModelListSchema(AnswerSchema):
    """All models, by name."""

    data = fields.List(fields.Nested(ModelSchema), required=True, metadata={"description": "All of them."})


class ModelVersionSchema(AnswerSchema):
    """One set of weights with the configuration that reads them; never changes."""

    model = fields.String(required=True, metadata={"description": "Name of the model."})
    version = fields.Integer(required=True, metadata={"description": "Counts up from 1 within the model."})
    source = fields.String(required=True, metadata={"description": "`bundled`, `imported` or `trained`."})
    config = fields.Dict(
        keys=fields.String(), required=True, metadata={"description": "How the weights are read and inputs prepared."}
    )
    weights_sha256 = fields.String(required=True, metadata={"description": "Checked whenever the weights are loaded."})
    weights_bytes = fields.Integer(required=True, metadata={"description": "Size of the weights."})
    metrics = fields.Dict(
        keys=fields.String(), required=True, metadata={"description": "What training and evaluation measured."}
    )
    created_at = fields.AwareDateTime(required=True, metadata={"description": "When it was registered."})


class ModelVersionListSchema(AnswerSchema):
    """A model's versions, newest first."""

    data = fields.List(fields.Nested(ModelVersionSchema), required=True, metadata={"description": "All of them."})
