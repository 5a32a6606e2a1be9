"""Models and their versions on the wire."""

from typing import Any

from marshmallow import fields

from schemas.answers import AnswerSchema
from schemas.gate_verdicts import EXAMPLE as VERDICT_EXAMPLE
from schemas.gate_verdicts import GateVerdictSchema
from schemas.model_settings import EXAMPLE as SETTINGS_EXAMPLE
from schemas.model_settings import ModelSettingsSchema
from schemas.trainings import RETRAINING_STATE_EXAMPLE, RetrainingStateSchema
from schemas.tunings import EXAMPLE as TUNING_EXAMPLE
from schemas.tunings import TuningSchema

EXAMPLE: dict[str, Any] = {
    "name": "fashion",
    "kind": "classification",
    "description": "Ten kinds of garment, from a photo.",
    "champion": 1,
    "challenger": None,
    "upcoming": None,
    "input": {
        "type": "image",
        "size": 28,
        "channels": 1,
        "mean": [0.286],
        "std": [0.353],
        "preparation": "garment",
    },
    "settings": SETTINGS_EXAMPLE,
    "retraining": RETRAINING_STATE_EXAMPLE,
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
    "parent": None,
    "training_id": None,
    "aliases": ["champion"],
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
    "tunings": [TUNING_EXAMPLE],
    "gate": VERDICT_EXAMPLE,
    "archived_at": None,
    "archive_reason": None,
    "failed_at": None,
    "failure": None,
    "created_at": "2026-11-20T12:00:00.000000+00:00",
}

UPLOADED_EXAMPLE: dict[str, Any] = {
    **VERSION_EXAMPLE,
    "version": 2,
    "source": "uploaded",
    "parent": 1,
    "aliases": [],
    "metrics": {},
    "tunings": [],
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
    challenger = fields.Integer(
        required=True,
        allow_none=True,
        metadata={"description": "Version that may become champion, kept loaded beside it; null when there is none."},
    )
    upcoming = fields.Integer(
        required=True,
        allow_none=True,
        metadata={
            "description": "Version that was promoted and answers once the workers have loaded it; null most of the "
            "time."
        },
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
    retraining = fields.Nested(
        RetrainingStateSchema,
        metadata={"description": "What its next training hangs on; only where one model is read."},
    )
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
    """One set of weights with the configuration that reads them; never changes, but for its state and tunings."""

    model = fields.String(required=True, metadata={"description": "Name of the model."})
    version = fields.Integer(required=True, metadata={"description": "Counts up from 1 within the model."})
    source = fields.String(required=True, metadata={"description": "`bundled`, `imported`, `uploaded` or `trained`."})
    parent = fields.Integer(
        required=True,
        allow_none=True,
        metadata={"description": "The version that it began with; null where it began with none."},
    )
    training_id = fields.UUID(
        required=True, allow_none=True, metadata={"description": "The training that made it; null for another source."}
    )
    aliases = fields.List(
        fields.String(),
        required=True,
        metadata={"description": "Of `champion`, `challenger` and `upcoming`, those that it has."},
    )
    config = fields.Dict(
        keys=fields.String(), required=True, metadata={"description": "How the weights are read and inputs prepared."}
    )
    weights_sha256 = fields.String(required=True, metadata={"description": "Checked whenever the weights are loaded."})
    weights_bytes = fields.Integer(required=True, metadata={"description": "Size of the weights."})
    metrics = fields.Dict(
        keys=fields.String(), required=True, metadata={"description": "What training and evaluation measured."}
    )
    tunings = fields.List(
        fields.Nested(TuningSchema),
        required=True,
        metadata={"description": "How it runs fastest, by kind of device; empty until a worker has measured it."},
    )
    gate = fields.Nested(
        GateVerdictSchema,
        required=True,
        allow_none=True,
        metadata={"description": "What it proved against the champion; null: it was not judged."},
    )
    archived_at = fields.AwareDateTime(
        required=True, allow_none=True, metadata={"description": "Since when it may not be promoted; null: it may."}
    )
    archive_reason = fields.String(required=True, allow_none=True, metadata={"description": "Why it may not."})
    failed_at = fields.AwareDateTime(
        required=True,
        allow_none=True,
        metadata={"description": "When the workers found that it cannot be loaded; null: they did not."},
    )
    failure = fields.String(required=True, allow_none=True, metadata={"description": "What they said of it."})
    created_at = fields.AwareDateTime(required=True, metadata={"description": "When it was registered."})


class ModelVersionListSchema(AnswerSchema):
    """A model's versions, newest first."""

    data = fields.List(fields.Nested(ModelVersionSchema), required=True, metadata={"description": "All of them."})
