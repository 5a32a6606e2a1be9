"""Live figures on the wire: statistics, queues, workers, health."""

from typing import Any

from marshmallow import fields

from schemas.answers import AnswerSchema
from schemas.enums import WorkerState

STATS_EXAMPLE: dict[str, Any] = {
    "window_s": 60,
    "models": [
        {
            "model": "fashion",
            "version": 1,
            "succeeded": 1200,
            "failed": 0,
            "canceled": 0,
            "expired": 0,
            "per_second": 20.0,
            "total_p50_ms": 9.2,
            "total_p99_ms": 31.0,
        }
    ],
}

QUEUES_EXAMPLE: dict[str, Any] = {
    "data": [
        {"model": "fashion", "version": 1, "priority": "normal", "queued": 3, "processing": 32, "oldest_queued_s": 0.02}
    ]
}

WORKERS_EXAMPLE: dict[str, Any] = {
    "data": [
        {
            "name": "cuda-0@host",
            "role": "inference",
            "device": "cuda:0",
            "queue": "inference-cuda-0@host",
            "models": ["fashion/1"],
            "rates": {
                "fashion/1": {
                    "fixed_ms": 2.1,
                    "item_ms": 0.4,
                    "max_batch": 64,
                    "load_ms": 812.0,
                    "used": 0.35,
                    "age_ms": 35.0,
                }
            },
            "load_failures": {},
            "state": "serving",
            "started_at": "2026-11-20T12:00:00.000000+00:00",
            "lease_expires_at": "2026-11-20T12:00:08.000000+00:00",
        }
    ]
}

LIVE_EXAMPLE: dict[str, Any] = {"status": "live"}

READY_EXAMPLE: dict[str, Any] = {"status": "ready", "checks": {"postgres": "ok", "valkey": "ok", "workers": 1}}


class ModelStatsSchema(AnswerSchema):
    """What one version did within the window."""

    model = fields.String(required=True, metadata={"description": "Name of the model."})
    version = fields.Integer(required=True, metadata={"description": "Number of its version."})
    succeeded = fields.Integer(required=True, metadata={"description": "Predictions that were answered."})
    failed = fields.Integer(required=True, metadata={"description": "Predictions that cannot be answered."})
    canceled = fields.Integer(required=True, metadata={"description": "Predictions that a client cancelled."})
    expired = fields.Integer(required=True, metadata={"description": "Predictions whose deadline passed."})
    per_second = fields.Float(required=True, metadata={"description": "Terminal predictions a second."})
    total_p50_ms = fields.Float(
        required=True, allow_none=True, metadata={"description": "Median time from acceptance to the end."}
    )
    total_p99_ms = fields.Float(
        required=True,
        allow_none=True,
        metadata={"description": "99th percentile of the time from acceptance to the end."},
    )


class StatsSchema(AnswerSchema):
    """What finished lately, from Postgres."""

    window_s = fields.Integer(required=True, metadata={"description": "How far back these figures reach."})
    models = fields.List(
        fields.Nested(ModelStatsSchema), required=True, metadata={"description": "By version; idle ones are left out."}
    )


class QueueSchema(AnswerSchema):
    """What waits and what runs, of one version at one priority."""

    model = fields.String(required=True, metadata={"description": "Name of the model."})
    version = fields.Integer(required=True, metadata={"description": "Number of its version."})
    priority = fields.String(required=True, metadata={"description": "`interactive`, `normal` or `bulk`."})
    queued = fields.Integer(required=True, metadata={"description": "Predictions that wait for a worker."})
    processing = fields.Integer(required=True, metadata={"description": "Predictions that a worker has taken up."})
    oldest_queued_s = fields.Float(
        required=True,
        allow_none=True,
        metadata={"description": "Age of the one that waits longest; null when none does."},
    )


class QueueListSchema(AnswerSchema):
    """Everything that waits or runs."""

    data = fields.List(fields.Nested(QueueSchema), required=True, metadata={"description": "Empty when all is done."})


class RateSchema(AnswerSchema):
    """What one version costs on one device, as its worker measured it lately."""

    fixed_ms = fields.Float(
        required=True, metadata={"description": "What a batch costs whatever its size, from claim to commit."}
    )
    item_ms = fields.Float(required=True, metadata={"description": "What each item of a batch adds."})
    max_batch = fields.Integer(metadata={"description": "Most items of a batch."})
    load_ms = fields.Float(required=True, metadata={"description": "What it took to load."})
    used = fields.Float(
        required=True, metadata={"description": "Share of what it could do of this version that it lately did."}
    )
    age_ms = fields.Float(
        required=True, metadata={"description": "Time since its last batch, at the worker's last heartbeat."}
    )


class WorkerSchema(AnswerSchema):
    """A worker process whose lease holds."""

    name = fields.String(required=True, metadata={"description": "Device and host, as Flower shows it."})
    role = fields.String(required=True, metadata={"description": "`inference`, `training` or `maintenance`."})
    device = fields.String(required=True, metadata={"description": "Where it computes, e.g. `cuda:0`."})
    queue = fields.String(required=True, metadata={"description": "The queue that only it consumes."})
    models = fields.List(
        fields.String(), required=True, metadata={"description": "Versions it has loaded, as `model/version`."}
    )
    rates = fields.Dict(
        keys=fields.String(),
        values=fields.Nested(RateSchema),
        required=True,
        metadata={"description": "What those that ran here cost on this device, by `model/version`."},
    )
    load_failures = fields.Dict(
        keys=fields.String(),
        values=fields.String(allow_none=True),
        required=True,
        metadata={
            "description": "Why promoted versions and challengers are not loaded, by `model/version`; null while one "
            "is being loaded."
        },
    )
    state = fields.Enum(
        WorkerState,
        by_value=True,
        required=True,
        metadata={
            "description": "`serving`; `draining`: it takes up no more and ends; `quarantined`: its device failed "
            "three times within ten minutes and serves nobody until its worker is restarted on purpose."
        },
    )
    started_at = fields.AwareDateTime(
        required=True, attribute="created_at", metadata={"description": "When the process registered."}
    )
    lease_expires_at = fields.AwareDateTime(
        required=True,
        metadata={"description": "Its predictions go back to the queue then, unless it renews the lease."},
    )


class WorkerListSchema(AnswerSchema):
    """All live workers."""

    data = fields.List(fields.Nested(WorkerSchema), required=True, metadata={"description": "All of them."})


class LiveSchema(AnswerSchema):
    """The process answers."""

    status = fields.String(required=True, metadata={"description": "Always `live`."})


class ReadyChecksSchema(AnswerSchema):
    """What the process depends on."""

    postgres = fields.String(required=True, metadata={"description": "Always `ok`: without it the answer is 503."})
    valkey = fields.String(required=True, metadata={"description": "`ok` or `away`; answers are slower without it."})
    workers = fields.Integer(required=True, metadata={"description": "Inference workers whose lease holds."})


class ReadySchema(AnswerSchema):
    """Whether requests would be accepted."""

    status = fields.String(required=True, metadata={"description": "Always `ready`: otherwise the answer is 503."})
    checks = fields.Nested(ReadyChecksSchema, required=True)
