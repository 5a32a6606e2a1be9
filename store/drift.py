"""Drift as others see it: the open alarms of a model, all of its figures, and the gauges of every model."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, select
from sqlalchemy.orm import Session, joinedload

from schemas.drift import DriftSettings
from schemas.enums import DriftMeasure
from schemas.model_settings import ModelSettings
from store.models import get_model
from store.prepared import PreparedStatement
from store.tables.drift import DriftAlarm, DriftMonitor

#: Alarms that a report lists.
ALARMS_SHOWN = 50

# Of champions alone: what was watched of others is history.
GAUGES = PreparedStatement(
    "drift_gauges",
    """
    SELECT m.name AS model, v.number AS version, f ->> 'measure' AS measure,
        CAST(f ->> 'value' AS double precision) AS value, a.id IS NOT NULL AS is_open
    FROM drift_monitors d
    JOIN models m ON m.champion_id = d.model_version_id JOIN model_versions v ON v.id = d.model_version_id
    CROSS JOIN LATERAL jsonb_array_elements(d.measures) f
    LEFT JOIN drift_alarms a
        ON a.model_version_id = d.model_version_id AND a.measure = f ->> 'measure' AND a.closed_at IS NULL
    ORDER BY 1, 3
""",
)


def open_alarms(session: Session, model_id: int) -> Sequence[DriftAlarm]:
    """List the alarms of a model that are open, oldest first; a training may begin because of them."""
    statement = select(DriftAlarm).where(DriftAlarm.model_id == model_id, DriftAlarm.closed_at.is_(None))
    return session.scalars(statement.order_by(DriftAlarm.id)).all()


def newest_alarm(session: Session, model_id: int) -> datetime | None:
    """Tell when the newest of a model's open alarms was raised; None when all is well."""
    return max((alarm.opened_at for alarm in open_alarms(session, model_id)), default=None)


def read_drift(session: Session, name: str) -> dict[str, Any]:
    """Tell how far the answers of a model's champion are from what is usual, as `schemas.drift` presents it.

    Raises:
        UnknownModelError: There is no such model.
    """
    model = get_model(session, name)
    settings = ModelSettings.load(model.settings).drift
    monitor = None if model.champion_id is None else session.get(DriftMonitor, model.champion_id)
    alarms = (
        select(DriftAlarm)
        .where(DriftAlarm.model_id == model.id)
        .options(joinedload(DriftAlarm.version))
        .order_by(DriftAlarm.id.desc())
        .limit(ALARMS_SHOWN)
    )
    return {
        "model": model.name,
        "version": None if model.champion is None else model.champion.number,
        "settings": settings,
        "since": None if monitor is None else monitor.since,
        "checked_at": None if monitor is None else monitor.checked_at,
        "reference": _sample({} if monitor is None else monitor.reference, settings.reference),
        "window": _sample({} if monitor is None else monitor.window, settings.window),
        "measures": [] if monitor is None else _measures(monitor),
        "alarms": [_alarm(row) for row in session.scalars(alarms)],
    }


def read_gauges(connection: Connection) -> list[dict[str, Any]]:
    """List what was last measured of every champion: model, version, measure, value, and whether an alarm is open."""
    return [dict(row) for row in GAUGES.run(connection).mappings()]


def is_whole(reference: Mapping[str, Any], settings: DriftSettings) -> bool:
    """Whether enough answers were seen to know what is usual."""
    return int(reference.get("answers", 0)) >= settings.reference


def _measures(monitor: DriftMonitor) -> list[dict[str, Any]]:
    return [
        {**each, "measure": DriftMeasure(each["measure"]), "checks_over": monitor.checks_over.get(each["measure"], 0)}
        for each in monitor.measures
    ]


def _sample(stored: Mapping[str, Any], wanted: int) -> dict[str, Any]:
    answers, labels = int(stored.get("answers", 0)), stored.get("labels") or {}
    total = sum(labels.values())
    return {
        "answers": answers,
        "wanted": wanted,
        "labels": {name: count / total for name, count in sorted(labels.items())},
    }


def _alarm(row: DriftAlarm) -> dict[str, Any]:
    return {
        "id": row.id,
        "version": row.version.number,
        "measure": DriftMeasure(row.measure),
        "value": row.value,
        "threshold": row.threshold,
        "opened_at": row.opened_at,
        "closed_at": row.closed_at,
        "close_reason": row.close_reason,
    }
