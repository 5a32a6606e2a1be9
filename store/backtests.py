"""Backtests: which stored requests are replayed on which two versions, and what came of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Integer, Select, cast, func, insert, literal, select, update
from sqlalchemy.orm import Session

from schemas.enums import BacktestStatus
from store import ledger
from store.backtest_latency import Latency, measure_latency
from store.errors import BacktestKindError, BacktestStateError, NoFeedbackError, SameVersionError, UnknownBacktestError
from store.ledger_rows import Finished
from store.lineage import seen_predictions
from store.models import ServedVersion
from store.statistics.paired import Gain, PairCounts, PairSums, compare_means, compare_shares
from store.tables.backtest import Backtest, BacktestItem
from store.tables.feedback import Feedback
from store.tables.model import Model
from store.tables.model_version import ModelVersion

#: Of the interval of the difference.
CONFIDENCE = 0.95

METRICS = {"classification": "accuracy", "regression": "mean absolute error"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Span:
    """Which feedback is replayed: the newest `limit` whose prediction was accepted in this span of time."""

    since: datetime | None = None
    until: datetime | None = None
    limit: int = 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """How far a backtest is, and what it says so far.

    Attributes:
        compared: Requests that both versions answered.
        skipped: Others that are done with, by why.
        disagreements: Requests with different answers.
        metric: Name of the figure; None for a kind without one.
        gain: None until something was compared.
        latency_ms: None until something was compared.
    """

    compared: int
    skipped: dict[str, int]
    disagreements: int
    metric: str | None
    gain: Gain | None
    latency_ms: Latency | None


def start_backtest(
    session: Session,
    *,
    api_key_id: int,
    sees: int | None,
    candidate: ServedVersion,
    baseline: ServedVersion,
    span: Span,
) -> Backtest:
    """Choose the requests and begin; they are replayed a group at a time, see `tasks.backtesting`.

    What either version has learned from is not chosen: it would know the answers.

    Args:
        session: Where.
        api_key_id: Whose backtest it is.
        sees: The tenant whose feedback is replayed; None for that of all.
        candidate: The version that is tried.
        baseline: What it is compared with.
        span: Which feedback.

    Raises:
        BacktestKindError: Answers of this kind cannot be compared so.
        SameVersionError: The two are one.
        NoFeedbackError: There is none in the span that neither version has learned from.
    """
    if candidate.kind not in METRICS:
        raise BacktestKindError(
            f"answers of a {candidate.kind} model are not right or wrong by a label alone; backtests are for "
            f"{' and '.join(METRICS)}"
        )
    if candidate.model_version_id == baseline.model_version_id:
        raise SameVersionError(
            f"version {candidate.number} of {candidate.model!r} is the baseline itself; name another `baseline`"
        )
    backtest = Backtest(
        api_key_id=api_key_id,
        model_id=candidate.model_id,
        model_version_id=candidate.model_version_id,
        baseline_version_id=baseline.model_version_id,
        status=BacktestStatus.RUNNING,
        requests=0,
    )
    session.add(backtest)
    session.flush()
    backtest.requests = _choose(session, backtest, _newest(backtest, sees, span))
    if backtest.requests == 0:
        raise NoFeedbackError(
            f"model {candidate.model!r} has no feedback in this span of time that neither version has learned from; "
            "send some with PUT /v1/predictions/{id}/feedback, or leave `since` and `until` out"
        )
    session.flush()
    return backtest


def get_backtest(session: Session, backtest_id: int, *, api_key_id: int | None) -> Backtest:
    """Return a backtest.

    Args:
        session: To read with.
        backtest_id: Which.
        api_key_id: The tenant that may see it; None for any.

    Raises:
        UnknownBacktestError: There is none, or it is another tenant's.
    """
    backtest = session.get(Backtest, backtest_id)
    if backtest is None or api_key_id not in (None, backtest.api_key_id):
        raise UnknownBacktestError(f"there is no backtest {backtest_id}")
    return backtest


def list_backtests(
    session: Session, *, model: Model, api_key_id: int | None, before: int | None, limit: int
) -> Sequence[Backtest]:
    """List the backtests of a model, newest first; of one tenant, or of all."""
    statement = select(Backtest).where(Backtest.model_id == model.id)
    if api_key_id is not None:
        statement = statement.where(Backtest.api_key_id == api_key_id)
    if before is not None:
        statement = statement.where(Backtest.id < before)
    return session.scalars(statement.order_by(Backtest.id.desc()).limit(limit)).all()


def cancel_backtest(session: Session, backtest: Backtest) -> list[Finished]:
    """Stop a backtest: nothing more is replayed, and what waits is cancelled. Doing it twice is fine.

    Returns:
        The replays that this ended, to be published.

    Raises:
        BacktestStateError: It is finished already.
    """
    # One statement, so that a group that is being replayed at this moment is waited for.
    ended = session.scalar(
        update(Backtest)
        .where(Backtest.id == backtest.id, Backtest.status == BacktestStatus.RUNNING)
        .values(status=BacktestStatus.CANCELED, finished_at=func.now())
        .returning(Backtest.id)
    )
    session.refresh(backtest)
    if backtest.status != BacktestStatus.CANCELED:
        raise BacktestStateError(f"backtest {backtest.id} is {backtest.status} already")
    return [] if ended is None else ledger.cancel_backtest(session.connection(), backtest.id)


def version_numbers(session: Session, backtest: Backtest) -> tuple[str, str, int, int]:
    """Name and kind of a backtest's model, and the numbers of the version that is tried and of the baseline."""
    model = session.get_one(Model, backtest.model_id)
    candidate = session.get_one(ModelVersion, backtest.model_version_id)
    baseline = session.get_one(ModelVersion, backtest.baseline_version_id)
    return model.name, model.kind, candidate.number, baseline.number


def report(session: Session, backtest: Backtest, kind: str) -> Report:
    """Add up what was settled so far."""
    candidate, baseline = BacktestItem.candidate_score, BacktestItem.baseline_score
    both = [BacktestItem.backtest_id == backtest.id, BacktestItem.candidate_score.is_not(None)]
    sums: Sequence[Any] = session.execute(
        select(
            func.count(),
            func.coalesce(func.sum(candidate), 0.0),
            func.coalesce(func.sum(baseline), 0.0),
            func.coalesce(func.sum((candidate - baseline) * (candidate - baseline)), 0.0),
            func.count().filter(candidate > baseline),
            func.count().filter(candidate < baseline),
            func.count().filter(BacktestItem.disagreed.is_(True)),
        ).where(*both)
    ).one()
    n, total_candidate, total_baseline, squares, won, lost, disagreements = sums
    if kind == "classification":
        right = round(total_candidate) - won
        counts = PairCounts(both=right, candidate_only=won, baseline_only=lost, neither=n - right - won - lost)
        gain = compare_shares(counts, confidence=CONFIDENCE)
    else:
        added = PairSums(items=n, candidate=total_candidate, baseline=total_baseline, squares=squares)
        gain = compare_means(added, confidence=CONFIDENCE, relative=True)
    return Report(
        compared=n,
        skipped=_skipped(session, backtest),
        disagreements=disagreements,
        metric=METRICS.get(kind),
        gain=gain if n else None,
        latency_ms=measure_latency(session, backtest),
    )


def list_disagreements(
    session: Session, backtest: Backtest, *, after: int | None, limit: int
) -> Sequence[BacktestItem]:
    """List the requests that the two versions answered differently, those with the newest feedback first."""
    statement = select(BacktestItem).where(BacktestItem.backtest_id == backtest.id, BacktestItem.disagreed.is_(True))
    if after is not None:
        statement = statement.where(BacktestItem.position > after)
    return session.scalars(statement.order_by(BacktestItem.position).limit(limit)).all()


def _newest(backtest: Backtest, sees: int | None, span: Span) -> Select[Any]:
    known = seen_predictions(backtest.model_version_id, backtest.baseline_version_id)
    statement = select(Feedback.prediction_id, Feedback.label).where(
        Feedback.model_id == backtest.model_id, Feedback.prediction_id.not_in(known)
    )
    if sees is not None:
        statement = statement.where(Feedback.api_key_id == sees)
    if span.since is not None:
        statement = statement.where(Feedback.predicted_at >= span.since)
    if span.until is not None:
        statement = statement.where(Feedback.predicted_at < span.until)
    return statement.order_by(Feedback.predicted_at.desc(), Feedback.prediction_id).limit(span.limit)


def _choose(session: Session, backtest: Backtest, newest: Select[Any]) -> int:
    chosen = newest.subquery()
    place = func.row_number().over(order_by=None) - 1
    rows = select(literal(backtest.id), cast(place, Integer), chosen.c.prediction_id, chosen.c.label)
    columns = ["backtest_id", "position", "source_id", "label"]
    session.execute(insert(BacktestItem).from_select(columns, rows))
    counted = select(func.count()).select_from(BacktestItem).where(BacktestItem.backtest_id == backtest.id)
    return session.scalars(counted).one()


def _skipped(session: Session, backtest: Backtest) -> dict[str, int]:
    statement = (
        select(BacktestItem.skip_reason, func.count())
        .where(BacktestItem.backtest_id == backtest.id, BacktestItem.skip_reason.is_not(None))
        .group_by(BacktestItem.skip_reason)
        .order_by(BacktestItem.skip_reason)
    )
    return {str(reason): count for reason, count in session.execute(statement)}
