"""Alarms over drift: raised when enough checks agree, ended when as many agree on the contrary."""

from collections.abc import Mapping
from typing import Any

import structlog
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from schemas.drift import DriftSettings
from schemas.enums import DecisionAction
from store.decisions import record_decision
from store.tables.drift import DriftAlarm, DriftMonitor

log = structlog.get_logger()

ACTOR = "beat"


def settle_alarm(
    session: Session, monitor: DriftMonitor, number: int, figure: Mapping[str, Any], settings: DriftSettings
) -> None:
    """Raise or end the alarm over one measure.

    Args:
        session: The decision is committed with it.
        monitor: Of the version; its `checks_over` count the check already.
        number: Of the version.
        figure: What the check found of the measure.
        settings: How many checks must agree.
    """
    checks = monitor.checks_over[figure["measure"]]
    statement = select(DriftAlarm).where(
        DriftAlarm.model_version_id == monitor.model_version_id,
        DriftAlarm.measure == figure["measure"],
        DriftAlarm.closed_at.is_(None),
    )
    alarm = session.scalar(statement)
    if alarm is None and checks >= settings.checks:
        _raise(session, monitor, number, figure)
    elif alarm is not None and checks <= -settings.checks:
        _close(session, alarm, "it is as usual again")


def close_alarms(session: Session, model_id: int, *, keep: int | None, reason: str) -> None:
    """End the open alarms of a model, but for those of one version."""
    statement = select(DriftAlarm).where(DriftAlarm.model_id == model_id, DriftAlarm.closed_at.is_(None))
    for alarm in session.scalars(statement).all():
        if alarm.model_version_id != keep:
            _close(session, alarm, reason)


def _raise(session: Session, monitor: DriftMonitor, number: int, figure: Mapping[str, Any]) -> None:
    measure, value, threshold = str(figure["measure"]), figure["value"], figure["threshold"]
    session.add(
        DriftAlarm(
            model_id=monitor.model_id,
            model_version_id=monitor.model_version_id,
            measure=measure,
            value=value,
            threshold=threshold,
            figures=dict(figure),
        )
    )
    record_decision(
        session,
        model_id=monitor.model_id,
        version_id=monitor.model_version_id,
        action=DecisionAction.DRIFT,
        actor=ACTOR,
        reason=f"{measure} of version {number}: {value:.3g}, where {threshold:.3g} is too much",
        figures=figure,
    )
    log.warning("drift_alarm_raised", model_id=monitor.model_id, version=number, **figure)


def _close(session: Session, alarm: DriftAlarm, reason: str) -> None:
    alarm.closed_at = session.scalars(select(func.now())).one()
    alarm.close_reason = reason
    record_decision(
        session,
        model_id=alarm.model_id,
        version_id=alarm.model_version_id,
        action=DecisionAction.DRIFT_OVER,
        actor=ACTOR,
        reason=f"the alarm over {alarm.measure} ended: {reason}",
    )
    log.info("drift_alarm_ended", alarm_id=alarm.id, reason=reason)
