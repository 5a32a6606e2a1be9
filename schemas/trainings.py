"""Trainings on the wire."""

from typing import Any

from marshmallow import fields

from schemas.answers import AnswerSchema
from schemas.client_names import NAME
from schemas.enums import TrainingErrorCode, TrainingStatus, TrainingTrigger
from schemas.pages import PageQueryArgsSchema
from schemas.training_options import EXAMPLE as OPTIONS_EXAMPLE
from schemas.training_options import TrainingOptionsSchema

ID = "0199b1d0-4c2e-7a51-9a6e-3d2f8f0c7b11"
PREDICTION_ID = "0198c9a2-7f3e-7cc1-a4b5-2f6d8e9a0b1c"

PROGRESS_EXAMPLE: dict[str, Any] = {
    "epoch": 3,
    "epochs": 6,
    "step": 690,
    "steps": 1380,
    "loss": 0.4123,
    "metric": 0.9012,
}

RUNNING_EXAMPLE: dict[str, Any] = {
    "id": ID,
    "model": "fashion",
    "status": "processing",
    "trigger": "api",
    "actor": "admin",
    "options": OPTIONS_EXAMPLE,
    "parent": 1,
    "version": None,
    "progress": PROGRESS_EXAMPLE,
    "checkpoint_epoch": 2,
    "manifest_sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "data_sha256": None,
    "examples": 4213,
    "attempt": 1,
    "device": "cpu:0",
    "metrics": None,
    "error": None,
    "created_at": "2026-11-20T12:00:00.000000+00:00",
    "started_at": "2026-11-20T12:00:00.250000+00:00",
    "deadline_at": "2026-11-20T13:00:00.250000+00:00",
    "finished_at": None,
}

EXAMPLE: dict[str, Any] = {
    **RUNNING_EXAMPLE,
    "status": "succeeded",
    "version": 2,
    "progress": {**PROGRESS_EXAMPLE, "epoch": 6, "step": 1380},
    "checkpoint_epoch": 6,
    "metrics": {"train_items": 5213, "test_accuracy": 0.9012},
    "finished_at": "2026-11-20T12:04:10.000000+00:00",
}

QUEUED_EXAMPLE: dict[str, Any] = {
    **RUNNING_EXAMPLE,
    "status": "queued",
    "progress": None,
    "checkpoint_epoch": None,
    "manifest_sha256": None,
    "examples": None,
    "attempt": 0,
    "device": None,
    "started_at": None,
    "deadline_at": None,
}

CANCELED_EXAMPLE: dict[str, Any] = {
    **RUNNING_EXAMPLE,
    "status": "canceled",
    "finished_at": "2026-11-20T12:01:10.000000+00:00",
}

LOG_EXAMPLE = "attempt 1 on cpu:0\nepoch 1/6  loss 0.6312  metric 0.8214\n"

EVENTS_EXAMPLE = "event: progress\ndata: {…}\n\nevent: succeeded\ndata: {…}\n\n"

EXAMPLES_EXAMPLE: dict[str, Any] = {
    "data": [{"prediction_id": PREDICTION_ID, "revision": 1}],
    "next_cursor": None,
}

POSTED_EXAMPLE: dict[str, Any] = {
    "inputs": [[0, 0], [0, 1], [1, 0], [1, 1]],
    "targets": [0, 1, 1, 0],
    "promote": True,
}


class TrainingRequestSchema(TrainingOptionsSchema):
    """How a training is done, and the data where it is sent along."""

    inputs = fields.Raw(
        load_default=None,
        metadata={
            "type": "array",
            "items": {"type": "array", "items": {"type": "number"}},
            "description": "Rows of numbers to train on, in place of base data and feedback; for models whose input is "
            "a vector. Needs `targets`.",
        },
    )
    targets = fields.Raw(
        load_default=None,
        metadata={
            "type": "array",
            "items": {},
            "description": "The right answer to each row: a label or its index, or a number.",
        },
    )


class TrainingListQueryArgsSchema(PageQueryArgsSchema):
    """Which trainings."""

    model = fields.String(load_default=None, validate=NAME, metadata={"description": "Only those of this model."})
    status = fields.Enum(
        TrainingStatus, by_value=True, load_default=None, metadata={"description": "Only those with this status."}
    )
    prediction = fields.UUID(
        load_default=None,
        metadata={"description": "Only those that have learned from the feedback on this prediction of yours."},
    )


class TrainingPageQueryArgsSchema(PageQueryArgsSchema):
    """Which page of a model's trainings."""


class TrainingProgressSchema(AnswerSchema):
    """Where a training is; loss and metric are running means over the latest steps."""

    epoch = fields.Integer(required=True, metadata={"description": "Counts from 1."})
    epochs = fields.Integer(required=True, metadata={"description": "All of them."})
    step = fields.Integer(required=True, metadata={"description": "Batches so far."})
    steps = fields.Integer(required=True, metadata={"description": "All of them."})
    loss = fields.Float(required=True, metadata={"description": "What it makes small."})
    metric = fields.Float(required=True, metadata={"description": "The kind's own measure, on training batches."})


class TrainingErrorSchema(AnswerSchema):
    """Why a training failed."""

    code = fields.Enum(
        TrainingErrorCode, by_value=True, required=True, metadata={"description": "Stable, for programs."}
    )
    detail = fields.String(required=True, metadata={"description": "A sentence, for people."})


class TrainingSchema(AnswerSchema):
    """A training, from the request for a new version to the version."""

    id = fields.UUID(required=True, metadata={"description": "Sorts by time."})
    model = fields.String(required=True, metadata={"description": "Name of the model."})
    status = fields.Enum(
        TrainingStatus, by_value=True, required=True, metadata={"description": "Where it is on its way."}
    )
    trigger = fields.Enum(TrainingTrigger, by_value=True, required=True, metadata={"description": "What asked."})
    actor = fields.String(required=True, metadata={"description": "Who asked."})
    options = fields.Nested(TrainingOptionsSchema, required=True)
    parent = fields.Integer(
        required=True, allow_none=True, metadata={"description": "Version whose weights or form it began with."}
    )
    version = fields.Integer(required=True, allow_none=True, metadata={"description": "Version that came of it."})
    progress = fields.Nested(TrainingProgressSchema, required=True, allow_none=True)
    checkpoint_epoch = fields.Integer(
        required=True, allow_none=True, metadata={"description": "Epochs that survive the death of its process."}
    )
    manifest_sha256 = fields.String(
        required=True,
        allow_none=True,
        metadata={"description": "Of what it learns from: equal manifests give equal weights. Null until it starts."},
    )
    data_sha256 = fields.String(
        required=True, allow_none=True, metadata={"description": "Of the data that was posted; null without."}
    )
    examples = fields.Integer(
        required=True, allow_none=True, metadata={"description": "Rows of feedback it learns from; null until known."}
    )
    attempt = fields.Integer(required=True, metadata={"description": "Counts up when its process or worker died."})
    device = fields.String(required=True, allow_none=True, metadata={"description": "Where it runs or ran."})
    metrics = fields.Dict(
        keys=fields.String(), required=True, allow_none=True, metadata={"description": "Of the new version."}
    )
    error = fields.Nested(TrainingErrorSchema, required=True, allow_none=True)
    created_at = fields.AwareDateTime(required=True, metadata={"description": "When it was asked for."})
    started_at = fields.AwareDateTime(
        required=True, allow_none=True, metadata={"description": "When a worker first took it."}
    )
    deadline_at = fields.AwareDateTime(
        required=True, allow_none=True, metadata={"description": "When its time limit is over."}
    )
    finished_at = fields.AwareDateTime(
        required=True, allow_none=True, metadata={"description": "When it reached its final state."}
    )


class TrainingPageSchema(AnswerSchema):
    """A page of trainings, newest first."""

    data = fields.List(fields.Nested(TrainingSchema), required=True, metadata={"description": "Newest first."})
    next_cursor = fields.String(
        required=True, allow_none=True, metadata={"description": "For the next page; null on the last."}
    )


class TrainingExampleSchema(AnswerSchema):
    """A prediction whose feedback was learned from."""

    prediction_id = fields.UUID(required=True, metadata={"description": "Of the prediction."})
    revision = fields.Integer(required=True, metadata={"description": "Of its feedback, as it was then."})


class TrainingExamplePageSchema(AnswerSchema):
    """A page of what a training learned from, oldest first."""

    data = fields.List(fields.Nested(TrainingExampleSchema), required=True, metadata={"description": "Oldest first."})
    next_cursor = fields.String(
        required=True, allow_none=True, metadata={"description": "For the next page; null on the last."}
    )


RETRAINING_STATE_EXAMPLE: dict[str, Any] = {
    "next_tick_at": "2026-11-23T03:00:00.000000+00:00",
    "feedback_since": 412,
    "last_training": {"id": ID, "status": "succeeded", "version": 2, "created_at": EXAMPLE["created_at"]},
    "note": None,
}


class LastTrainingSchema(AnswerSchema):
    """The newest training of a model, in short."""

    id = fields.UUID(required=True, metadata={"description": "Of the training."})
    status = fields.Enum(
        TrainingStatus, by_value=True, required=True, metadata={"description": "Where it is on its way."}
    )
    version = fields.Integer(required=True, allow_none=True, metadata={"description": "Version that came of it."})
    created_at = fields.AwareDateTime(required=True, metadata={"description": "When it was asked for."})


class RetrainingStateSchema(AnswerSchema):
    """What the next training of a model hangs on."""

    next_tick_at = fields.AwareDateTime(
        required=True, allow_none=True, metadata={"description": "By the model's cron line; null without one."}
    )
    feedback_since = fields.Integer(
        required=True,
        metadata={
            "description": "Rows of feedback that came or changed since the last training that succeeded was asked "
            "for, and that a training by the model's settings would learn from."
        },
    )
    last_training = fields.Nested(LastTrainingSchema, required=True, allow_none=True)
    note = fields.String(
        required=True, allow_none=True, metadata={"description": "Why the last due trigger became no training."}
    )
