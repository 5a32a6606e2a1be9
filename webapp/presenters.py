"""From rows and events to what `schemas` dumps."""

import math
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any

from schemas.enums import GateOutcome, GatePolicy, PredictionStatus, Priority
from schemas.messages import PredictionFinished
from store.ledger_rows import Submission
from store.models import ServedVersion
from store.statistics.paired import Gain
from store.tables.feedback import Feedback
from store.tables.gate_verdict import GateVerdict
from store.tables.prediction import Prediction

MS = 1000.0


def from_row(row: Prediction) -> dict[str, Any]:
    """Present a prediction as read from Postgres, with its version, item and feedback loaded."""
    return {
        "id": row.id,
        "model": row.version.model.name,
        "version": row.version.number,
        "status": PredictionStatus(row.status),
        "result": row.result,
        "error": _error(row.error_code, row.error_detail),
        "priority": Priority(row.priority),
        "attempt": row.attempt,
        "cached": row.cached,
        "item": None if row.item is None else {"catalog": row.item.catalog, "external_id": row.item.external_id},
        **_times(row.created_at, row.started_at, row.finished_at, row.decode_ms, row.compute_ms),
        "device": row.device,
        "assignment_probability": row.assignment_probability,
        "shadow_of": row.shadow_of,
        "redrive_of": row.redrive_of,
        "feedback": None if row.feedback is None else from_feedback(row.feedback),
    }


def from_feedback(row: Feedback) -> dict[str, Any]:
    """Present feedback, without saying on what."""
    return {
        "label": row.label,
        "is_correct": row.is_correct,
        "error": row.error,
        "source": row.source,
        "weight": row.weight,
        "revision": row.revision,
        "created_at": row.created_at,
        "updated_at": row.updated_at,
    }


def from_event(submission: Submission, version: ServedVersion, event: PredictionFinished) -> dict[str, Any]:
    """Present a prediction that this process accepted and a worker finished, without reading it again."""
    item = None
    if submission.catalog is not None:
        item = {"catalog": submission.catalog, "external_id": submission.external_id}
    return {
        "id": submission.id,
        "model": version.model,
        "version": version.number,
        "status": PredictionStatus(event.status),
        "result": event.result,
        "error": _error(event.error_code, event.error_detail),
        "priority": submission.priority,
        "attempt": event.attempt,
        "cached": event.cached,
        "item": item,
        **_times(
            datetime.fromisoformat(event.created_at),
            None if event.started_at is None else datetime.fromisoformat(event.started_at),
            datetime.fromisoformat(event.finished_at),
            event.decode_ms,
            event.compute_ms,
        ),
        "device": event.device,
        "assignment_probability": submission.assignment_probability,
        "shadow_of": None,
        "redrive_of": None,
        "feedback": None,
    }


def present_gain(gain: Gain) -> dict[str, Any]:
    """Present a comparison of two versions; an interval without an end has none."""
    return {
        name: None if isinstance(value, float) and math.isinf(value) else value for name, value in asdict(gain).items()
    }


def present_verdict(verdict: GateVerdict) -> dict[str, Any]:
    """Present what the gate said of a version, with its champion loaded."""
    return {
        "outcome": GateOutcome(verdict.outcome),
        "reason": verdict.reason,
        "policy": GatePolicy(verdict.policy),
        "champion": None if verdict.champion is None else verdict.champion.number,
        "training": verdict.training_id,
        "comparisons": verdict.comparisons,
        "guards": verdict.guards,
        "created_at": verdict.created_at,
    }


def _error(code: str | None, detail: str | None) -> Mapping[str, str] | None:
    return None if code is None else {"code": code, "detail": detail or code}


def _times(
    created_at: datetime,
    started_at: datetime | None,
    finished_at: datetime | None,
    decode_ms: float | None,
    compute_ms: float | None,
) -> dict[str, Any]:
    return {
        "created_at": created_at,
        "started_at": started_at,
        "finished_at": finished_at,
        "timings_ms": {
            "queued": _span_ms(created_at, started_at),
            "decode": decode_ms,
            "compute": compute_ms,
            "total": _span_ms(created_at, finished_at),
        },
    }


def _span_ms(start: datetime, end: datetime | None) -> float | None:
    return None if end is None else round((end - start).total_seconds() * MS, 3)
