"""Backtests on the wire."""

from collections.abc import Mapping
from typing import Any

from marshmallow import Schema, ValidationError, fields, validate, validates_schema

from schemas.answers import AnswerSchema
from schemas.enums import BacktestStatus
from schemas.gate_verdicts import GainSchema
from schemas.instants import Instant
from schemas.integers import MOST_EXACT

MOST_REQUESTS = 10_000
MOST_PAGE = 500

REQUEST_EXAMPLE: dict[str, Any] = {"version": 3, "baseline": 2, "since": "2026-11-20T00:00:00+00:00", "limit": 1000}

EXAMPLE: dict[str, Any] = {
    "id": 7,
    "model": "fashion",
    "version": 3,
    "baseline": 2,
    "status": "succeeded",
    "progress": {"requests": 1000, "compared": 997, "skipped": 3, "share": 1.0},
    "skipped": {"request_gone": 3},
    "metric": "accuracy",
    "difference": {
        "items": 997,
        "candidate": 0.8937,
        "baseline": 0.8736,
        "gain": 0.0201,
        "low": 0.0045,
        "high": 0.0356,
        "confidence": 0.95,
        "p_value": 0.0114,
    },
    "disagreements": 84,
    "latency_ms": {
        "candidate": 14.2,
        "baseline": 13.9,
        "difference": 0.3,
        "low": -0.4,
        "high": 1.0,
        "confidence": 0.95,
    },
    "created_at": "2026-11-20T12:00:00.000000+00:00",
    "finished_at": "2026-11-20T12:00:09.000000+00:00",
}

RUNNING_EXAMPLE: dict[str, Any] = {
    **EXAMPLE,
    "status": "running",
    "progress": {"requests": 1000, "compared": 0, "skipped": 0, "share": 0.0},
    "skipped": {},
    "difference": None,
    "disagreements": 0,
    "latency_ms": None,
    "finished_at": None,
}

CANCELED_EXAMPLE: dict[str, Any] = {**RUNNING_EXAMPLE, "status": "canceled", "finished_at": EXAMPLE["finished_at"]}

DISAGREEMENTS_EXAMPLE: dict[str, Any] = {
    "data": [
        {
            "prediction_id": "0198c9a2-7f3e-7cc1-a4b5-2f6d8e9a0b1c",
            "label": "Sandal",
            "candidate": "Sandal",
            "baseline": "Sneaker",
            "better": "candidate",
        }
    ],
    "next_cursor": None,
}


class BacktestRequestSchema(Schema):
    """What to replay on which versions."""

    version = fields.Integer(
        required=True,
        validate=validate.Range(min=1, max=MOST_EXACT),
        metadata={"description": "The version that is tried."},
    )
    baseline = fields.Integer(
        load_default=None,
        allow_none=True,
        validate=validate.Range(min=1, max=MOST_EXACT),
        metadata={"description": "What it is compared with; the champion by default."},
    )
    since = Instant(
        load_default=None, allow_none=True, metadata={"description": "Only requests accepted at or after this time."}
    )
    until = Instant(
        load_default=None, allow_none=True, metadata={"description": "Only requests accepted before this time."}
    )
    limit = fields.Integer(
        load_default=1000,
        validate=validate.Range(min=1, max=MOST_REQUESTS),
        metadata={"description": "Most requests; the newest are replayed."},
    )

    @validates_schema(skip_on_field_errors=True)
    def check_span(self, data: Mapping[str, Any], **_: Any) -> None:
        """Refuse a span of time that ends before it begins."""
        since, until = data.get("since"), data.get("until")
        if since is not None and until is not None and since >= until:
            raise ValidationError("Must be later than `since`.", "until")


class BacktestProgressSchema(AnswerSchema):
    """How far a backtest is."""

    requests = fields.Integer(
        required=True, metadata={"description": "That it replays; neither version has learned from them."}
    )
    compared = fields.Integer(required=True, metadata={"description": "That both versions answered."})
    skipped = fields.Integer(required=True, metadata={"description": "That could not be compared."})
    share = fields.Float(required=True, metadata={"description": "Done so far, 0..1."})


class BacktestLatencySchema(AnswerSchema):
    """Median time of a request, decoding and computing with its batch; both are replayed side by side."""

    candidate = fields.Float(required=True, metadata={"description": "Milliseconds."})
    baseline = fields.Float(required=True, metadata={"description": "Milliseconds."})
    difference = fields.Float(
        required=True, metadata={"description": "Milliseconds; above 0 the tried version is slower."}
    )
    low = fields.Float(
        required=True,
        allow_none=True,
        metadata={
            "description": "Where the difference's interval begins; null below four times the versions' `max_batch` "
            "requests: what is computed in one batch is no independent measurement."
        },
    )
    high = fields.Float(required=True, allow_none=True, metadata={"description": "Where it ends; null with `low`."})
    confidence = fields.Float(required=True, metadata={"description": "Of the interval, 0..1."})


class BacktestSchema(AnswerSchema):
    """Stored requests with feedback, replayed on two versions."""

    id = fields.Integer(required=True, metadata={"description": "For its path."})
    model = fields.String(required=True, metadata={"description": "Name of the model."})
    version = fields.Integer(required=True, metadata={"description": "The version that is tried."})
    baseline = fields.Integer(required=True, metadata={"description": "What it is compared with."})
    status = fields.Enum(
        BacktestStatus, by_value=True, required=True, metadata={"description": "Only a running one changes."}
    )
    progress = fields.Nested(BacktestProgressSchema, required=True)
    skipped = fields.Dict(
        keys=fields.String(),
        values=fields.Integer(),
        required=True,
        metadata={
            "description": "Requests that could not be compared, by why: `request_gone` (forgotten, or past its "
            "retention), or the error code of a replay, e.g. `input_missing`."
        },
    )
    metric = fields.String(
        required=True, allow_none=True, metadata={"description": "What the figures are, e.g. `accuracy`."}
    )
    difference = fields.Nested(
        GainSchema, required=True, allow_none=True, metadata={"description": "Null until something was compared."}
    )
    disagreements = fields.Integer(required=True, metadata={"description": "Requests with different answers."})
    latency_ms = fields.Nested(
        BacktestLatencySchema,
        required=True,
        allow_none=True,
        metadata={"description": "Null until something was compared."},
    )
    created_at = fields.AwareDateTime(required=True, metadata={"description": "When it was asked for."})
    finished_at = fields.AwareDateTime(
        required=True, allow_none=True, metadata={"description": "Null while it is running."}
    )


class BacktestPageSchema(AnswerSchema):
    """A page of a model's backtests, newest first."""

    data = fields.List(fields.Nested(BacktestSchema), required=True, metadata={"description": "Newest first."})
    next_cursor = fields.String(
        required=True, allow_none=True, metadata={"description": "For `cursor`; null on the last page."}
    )


class BacktestPageQueryArgsSchema(Schema):
    """Which page."""

    cursor = fields.Integer(
        load_default=None, metadata={"description": "`next_cursor` of the page before."}, validate=validate.Range(min=0)
    )
    limit = fields.Integer(
        load_default=50,
        validate=validate.Range(min=1, max=MOST_PAGE),
        metadata={"description": "Most entries of a page."},
    )


class DisagreementSchema(AnswerSchema):
    """A request that the two versions answered differently."""

    prediction_id = fields.UUID(required=True, metadata={"description": "The prediction that has the feedback."})
    label = fields.Raw(required=True, metadata={"description": "What the feedback says."})
    candidate = fields.Raw(required=True, metadata={"description": "What the tried version says."})
    baseline = fields.Raw(required=True, metadata={"description": "What the baseline says."})
    better = fields.String(
        required=True,
        allow_none=True,
        metadata={"description": "Which was nearer to the label: `candidate` or `baseline`; null: neither."},
    )


class DisagreementPageSchema(AnswerSchema):
    """A page of disagreements, those with the newest requests first."""

    data = fields.List(fields.Nested(DisagreementSchema), required=True, metadata={"description": "Newest first."})
    next_cursor = fields.String(
        required=True, allow_none=True, metadata={"description": "For `cursor`; null on the last page."}
    )
