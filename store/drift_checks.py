"""Checking for drift: the champion's latest answers and feedback against its first ones since it was promoted.

A check costs two ranges of an index and no lock that a request waits for. It counts only when enough is new since the
last, so that neither the pace of beat nor an idle hour makes one finding look like many.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Engine, Row, func, select, text
from sqlalchemy.orm import Session

from schemas.drift import DriftSettings
from schemas.enums import DriftMeasure
from schemas.model_settings import ModelSettings
from store import drift_sql as sql
from store.database import open_session
from store.divergence import Divergence, Moments, decile_edges, js_divergence, mean_rise, share_drop, stability_index
from store.drift import is_whole
from store.drift_alarms import close_alarms, settle_alarm
from store.headlines import HEADLINES
from store.partitions import CLOCK_SLACK, least_id
from store.tables.drift import DriftMonitor
from store.tables.model import Model
from store.tables.model_version import ModelVersion

#: One process checks a model at a time; the lock ends with the transaction.
DRIFT_LOCK_CLASS = 7_208_008

#: A check counts when so large a part of the window is new.
FRESH_PART = 10

#: A share that was measured on data of which we do not know how many they were.
UNTOLD_ITEMS = 10_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """What a check found of one measure; stored as JSON and shown as it is."""

    measure: DriftMeasure
    value: float
    threshold: float
    is_significant: bool
    is_over: bool
    reference_samples: int
    window_samples: int
    reference_value: float | None = None
    window_value: float | None = None


def check_champions(database: Engine) -> None:
    """Check every model that has a champion and is watched. From any number of processes; one checks a model."""
    with open_session(database) as session:
        ids = list(session.scalars(select(Model.id).where(Model.champion_id.is_not(None)).order_by(Model.id)))
    for model_id in ids:
        with open_session(database) as session:
            if _try_lock(session, model_id):
                check_model(session, model_id)


def check_model(session: Session, model_id: int) -> None:
    """Check the champion of one model; raise and end alarms as it finds."""
    model = session.get_one(Model, model_id)
    settings = ModelSettings.load(model.settings).drift
    champion = model.champion
    if champion is None or not settings.enabled:
        close_alarms(session, model.id, keep=None, reason="its answers are no longer watched")
        return
    close_alarms(session, model.id, keep=champion.id, reason=f"version {champion.number} answers now")
    monitor = _monitor(session, model, champion)
    _learn_reference(session.connection(), monitor, settings)
    figures = [
        *_check_shapes(session.connection(), monitor, settings),
        *_check_feedback(session.connection(), monitor, settings, model.kind, champion.metrics),
    ]
    if figures:
        monitor.checked_at = _now(session.connection())
        _note(monitor, figures)
        for figure in figures:
            settle_alarm(session, monitor, champion.number, asdict(figure), settings)


def _monitor(session: Session, model: Model, champion: ModelVersion) -> DriftMonitor:
    """Return the monitor of a champion, a new one when it was promoted since."""
    promoted_at = (
        sql.LAST_PROMOTION.run(session.connection(), model_id=model.id, version=champion.id).scalar_one()
        or champion.created_at
    )
    monitor = session.get(DriftMonitor, champion.id)
    if monitor is not None and monitor.since == promoted_at:
        return monitor
    if monitor is not None:
        close_alarms(session, model.id, keep=None, reason=f"version {champion.number} was promoted again")
        session.delete(monitor)
        session.flush()
    monitor = DriftMonitor(
        model_version_id=champion.id,
        model_id=model.id,
        since=promoted_at,
        reference={},
        window={},
        measures=[],
        checks_over={},
    )
    session.add(monitor)
    return monitor


def _learn_reference(connection: Connection, monitor: DriftMonitor, settings: DriftSettings) -> None:
    """Read what is usual, until there is enough of it; from then on it stays."""
    if not is_whole(monitor.reference, settings):
        rows = sql.FIRST_ANSWERS.run(
            connection, version=monitor.model_version_id, since=least_id(monitor.since), count=settings.reference
        ).all()
        if len(rows) != monitor.reference.get("answers", 0):
            monitor.reference = {**monitor.reference, **_describe(rows)}
    if "feedback" not in monitor.reference:
        first = sql.FIRST_FEEDBACK.run(
            connection, version=monitor.model_version_id, since=monitor.since, count=settings.window
        ).one()
        if first.found >= settings.window:
            monitor.reference = {**monitor.reference, "feedback": _tally(first)}


def _describe(rows: Sequence[Row[Any]]) -> dict[str, Any]:
    scores = [row.score for row in rows if row.score is not None]
    edges = decile_edges(scores) if scores else []
    return {
        "answers": len(rows),
        "last_id": str(rows[-1].id) if rows else None,
        "labels": _count_labels(rows),
        "edges": edges,
        "scores": _count_scores(rows, edges),
    }


def _check_shapes(connection: Connection, monitor: DriftMonitor, settings: DriftSettings) -> list[Figure]:
    """Compare labels and scores, where enough answers are new."""
    reference = monitor.reference
    if not is_whole(reference, settings):
        return []
    rows = sql.LATEST_ANSWERS.run(
        connection,
        version=monitor.model_version_id,
        after=UUID(reference["last_id"]),
        until=least_id(datetime.now(UTC) + CLOCK_SLACK),
        count=settings.window,
    ).all()
    fresh = [row for row in rows if monitor.last_id is None or row.id > monitor.last_id]
    monitor.window = {"answers": len(rows), "labels": _count_labels(rows)}
    if len(rows) < settings.window or len(fresh) < settings.window / FRESH_PART:
        return []
    monitor.last_id = rows[-1].id
    return _compare_shapes(reference, rows, settings)


def _compare_shapes(reference: Mapping[str, Any], rows: Sequence[Row[Any]], settings: DriftSettings) -> list[Figure]:
    labels, scores = _count_labels(rows), _count_scores(rows, reference["edges"])
    figures = []
    if reference["labels"] and labels:
        found = js_divergence(reference["labels"], labels, alpha=settings.alpha)
        samples = sum(reference["labels"].values()), sum(labels.values())
        figures.append(_figure(DriftMeasure.LABELS, found, settings.max_label_distance, samples))
    if reference["edges"] and sum(scores):
        found = stability_index(reference["scores"], scores, alpha=settings.alpha)
        samples = sum(reference["scores"]), sum(scores)
        figures.append(_figure(DriftMeasure.SCORES, found, settings.max_score_psi, samples))
    return figures


def _check_feedback(
    connection: Connection,
    monitor: DriftMonitor,
    settings: DriftSettings,
    kind: str,
    metrics: Mapping[str, Any],
) -> list[Figure]:
    """Compare how right answers were, where enough feedback is new."""
    since = monitor.feedback_checked_at or monitor.since
    wanted = max(1, settings.min_feedback // FRESH_PART)
    new = sql.NEW_FEEDBACK.run(
        connection, model_id=monitor.model_id, version=monitor.model_version_id, since=since, count=wanted
    ).scalar_one()
    usual = monitor.reference.get("feedback") or held_out(kind, metrics)
    if new < wanted or usual is None:
        return []
    after = datetime.fromisoformat(usual["last_at"]) if "last_at" in usual else monitor.since
    latest = sql.LATEST_FEEDBACK.run(
        connection, version=monitor.model_version_id, after=after, count=settings.window
    ).one()
    monitor.feedback_checked_at = _now(connection)
    return _compare_feedback(usual, _tally(latest), settings)


def _compare_feedback(usual: Mapping[str, Any], latest: Mapping[str, Any], settings: DriftSettings) -> list[Figure]:
    figures = []
    if min(usual["judged"], latest["judged"]) >= settings.min_feedback:
        (hits, total), (found, other) = ((each["correct"], each["judged"]) for each in (usual, latest))
        drop = share_drop((hits, total), (found, other), alpha=settings.alpha)
        values = hits / total, found / other
        figures.append(_figure(DriftMeasure.ACCURACY, drop, settings.max_accuracy_drop, (total, other), values))
    if min(usual["measured"], latest["measured"]) >= settings.min_feedback:
        before, now = (
            Moments(count=each["measured"], mean=each["mean"], variance=each["variance"]) for each in (usual, latest)
        )
        rise = mean_rise(before, now, alpha=settings.alpha)
        samples, values = (before.count, now.count), (before.mean, now.mean)
        figures.append(_figure(DriftMeasure.ERROR, rise, settings.max_error_rise, samples, values))
    return figures


def held_out(kind: str, metrics: Mapping[str, Any]) -> dict[str, Any] | None:
    """Take the accuracy on held-out data for what is usual, as long as there is too little feedback; None without."""
    names = HEADLINES["classification"] if kind == "classification" else ()
    share = next((metrics[name] for name in names if isinstance(metrics.get(name), float)), None)
    if share is None or not 0 <= share <= 1:
        return None
    items = int(metrics.get("test_items") or UNTOLD_ITEMS)
    return {"judged": items, "correct": round(share * items), "measured": 0}


def _note(monitor: DriftMonitor, figures: Sequence[Figure]) -> None:
    """Keep the figures, with those of the measures that had nothing new."""
    found = {str(figure.measure): asdict(figure) for figure in figures}
    kept = {each["measure"]: each for each in monitor.measures}
    monitor.measures = list((kept | found).values())
    counts = dict(monitor.checks_over)
    for figure in figures:
        before = counts.get(figure.measure, 0)
        counts[str(figure.measure)] = max(before, 0) + 1 if figure.is_over else min(before, 0) - 1
    monitor.checks_over = counts


def _figure(
    measure: DriftMeasure,
    found: Divergence,
    threshold: float,
    samples: tuple[int, int],
    values: tuple[float | None, float | None] = (None, None),
) -> Figure:
    return Figure(
        measure=measure,
        # JSON has no infinity; from nothing to something is as much as can be.
        value=min(found.value, 1e9),
        threshold=threshold,
        is_significant=found.is_significant,
        is_over=found.is_significant and found.value > threshold,
        reference_samples=samples[0],
        window_samples=samples[1],
        reference_value=values[0],
        window_value=values[1],
    )


def _count_labels(rows: Sequence[Row[Any]]) -> dict[str, int]:
    return dict(Counter(row.label for row in rows if row.label is not None))


def _count_scores(rows: Sequence[Row[Any]], edges: Sequence[float]) -> list[int]:
    counts = [0] * (len(edges) + 1)
    for row in rows:
        if row.score is not None:
            counts[bisect_left(edges, row.score)] += 1
    return counts


def _tally(row: Row[Any]) -> dict[str, Any]:
    told = {
        "judged": row.judged,
        "correct": row.correct,
        "measured": row.measured,
        "mean": row.mean or 0.0,
        "variance": row.variance or 0.0,
    }
    return told if row.last_at is None else {**told, "last_at": row.last_at.isoformat()}


def _try_lock(session: Session, model_id: int) -> bool:
    lock = {"class": DRIFT_LOCK_CLASS, "model": model_id}
    taken = session.execute(text("SELECT pg_try_advisory_xact_lock(:class, CAST(:model AS integer))"), lock)
    return bool(taken.scalar_one())


def _now(connection: Connection) -> datetime:
    now: datetime = connection.execute(select(func.now())).scalar_one()
    return now
