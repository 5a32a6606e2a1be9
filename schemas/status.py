"""Live figures on the wire: statistics, queues, workers, health."""

from typing import Any

from marshmallow import Schema, fields

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
            "queue": "inference-cuda-0",
            "models": ["fashion/1"],
            "started_at": "2026-11-20T12:00:00.000000+00:00",
            "lease_expires_at": "2026-11-20T12:00:08.000000+00:00",
        }
    ]
}

READY_EXAMPLE: dict[str, Any] = {"status": "ready", "checks": {"postgres": "ok", "valkey": "ok", "workers": 1}}


class ModelStatsSchema(Schema):
    """What one version did within the window."""

    model = fields.String(required=True)
    version = fields.Integer(required=True)
    succeeded = fields.Integer(required=True)
    failed = fields.Integer(required=True)
    canceled = fields.Integer(required=True)
    expired = fields.Integer(required=True)
    per_second = fields.Float(required=True, metadata={"description": "Terminal predictions a second."})
    total_p50_ms = fields.Float(required=True, allow_none=True)
    total_p99_ms = fields.Float(required=True, allow_none=True)


class StatsSchema(Schema):
    """What finished lately, from Postgres."""

    window_s = fields.Integer(required=True)
    models = fields.List(fields.Nested(ModelStatsSchema), required=True)


class QueueSchema(Schema):
    """What waits and what runs, of one version at one priority."""

    model = fields.String(required=True)
    version = fields.Integer(required=True)
    priority = fields.String(required=True)
    queued = fields.Integer(required=True)
    processing = fields.Integer(required=True)
    oldest_queued_s = fields.Float(required=True, allow_none=True)


class QueueListSchema(Schema):
    """Everything that waits or runs."""

    data = fields.List(fields.Nested(QueueSchema), required=True)


class WorkerSchema(Schema):
    """A worker process whose lease holds."""

    name = fields.String(required=True)
    role = fields.String(required=True)
    device = fields.String(required=True)
    queue = fields.String(required=True)
    models = fields.List(fields.String(), required=True)
    started_at = fields.AwareDateTime(required=True, attribute="created_at")
    lease_expires_at = fields.AwareDateTime(required=True)


class WorkerListSchema(Schema):
    """All live workers."""

    data = fields.List(fields.Nested(WorkerSchema), required=True)


class LiveSchema(Schema):
    """The process answers."""

    status = fields.String(required=True, metadata={"example": "live"})


class ReadyChecksSchema(Schema):
    """What the process depends on."""

    postgres = fields.String(required=True)
    valkey = fields.String(required=True, metadata={"description": "Slower without, never unready."})
    workers = fields.Integer(required=True, metadata={"description": "Inference workers whose lease holds."})


class ReadySchema(Schema):
    """Whether requests would be accepted."""

    status = fields.String(required=True, metadata={"example": "ready"})
    checks = fields.Nested(ReadyChecksSchema, required=True)
