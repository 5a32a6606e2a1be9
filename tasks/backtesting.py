"""Moving backtests: what was answered is settled, and more is replayed, a group at a time.

Replays are predictions like any other at bulk priority, so they run where and when nothing more urgent waits. Any
process may move a backtest, and one that dies in between leaves nothing behind: a group is one transaction.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Engine as Database
from sqlalchemy import func, select
from sqlalchemy.orm import Session, joinedload
from uuid_utils.compat import uuid7

from schemas.enums import BacktestStatus, PredictionStatus, Priority
from store import ledger
from store.answers import answer_of, differ, score_of
from store.database import open_session
from store.ledger_rows import Submission
from store.tables.backtest import Backtest, BacktestItem
from store.tables.model import Model
from store.tables.prediction import Prediction

#: Requests of one backtest that are replayed at once: what a cancel throws away, and what a second can take.
WINDOW = 250

#: The request itself is gone: forgotten, or past its retention.
REQUEST_GONE = "request_gone"


def advance_backtests(database: Database) -> bool:
    """Move every backtest that runs. Returns whether something was replayed, so that a doorbell should be rung."""
    with open_session(database) as session:
        running = session.scalars(select(Backtest.id).where(Backtest.status == BacktestStatus.RUNNING)).all()
    submitted = 0
    for backtest_id in running:
        with open_session(database) as session:
            submitted += _advance(session, backtest_id)
    return submitted > 0


def _advance(session: Session, backtest_id: int) -> int:
    """Returns how many requests were replayed."""
    chosen = select(Backtest).where(Backtest.id == backtest_id, Backtest.status == BacktestStatus.RUNNING)
    # Whoever holds the row moves it, a cancel included.
    backtest = session.scalar(chosen.with_for_update(skip_locked=True))
    if backtest is None:
        return 0
    unsettled = (
        select(BacktestItem)
        .where(BacktestItem.backtest_id == backtest_id, BacktestItem.settled_at.is_(None))
        .order_by(BacktestItem.position)
        .limit(WINDOW)
    )
    items = session.scalars(unsettled).all()
    if not items:
        backtest.status, backtest.finished_at = BacktestStatus.SUCCEEDED, func.now()
        return 0
    kind = session.get_one(Model, backtest.model_id).kind
    _settle(session, [item for item in items if item.candidate_id is not None], kind)
    return _replay(session, backtest, [item for item in items if item.candidate_id is None])


def _settle(session: Session, items: Sequence[BacktestItem], kind: str) -> None:
    """Copy what both versions said, where both are done."""
    found = _read(session, [each for item in items for each in (item.candidate_id, item.baseline_id) if each])
    for item in items:
        candidate, baseline = found.get(item.candidate_id), found.get(item.baseline_id)
        if candidate is None or baseline is None:
            _skip(item, REQUEST_GONE)
        elif all(PredictionStatus(each.status).is_terminal for each in (candidate, baseline)):
            _compare(item, candidate, baseline, kind)


def _compare(item: BacktestItem, candidate: Prediction, baseline: Prediction, kind: str) -> None:
    failed = next((each for each in (candidate, baseline) if each.result is None), None)
    if failed is not None:
        _skip(item, failed.error_code or failed.status)
        return
    assert candidate.result is not None
    assert baseline.result is not None
    said, before = answer_of(kind, candidate.result), answer_of(kind, baseline.result)
    item.candidate_answer, item.baseline_answer = said, before
    item.candidate_score, item.baseline_score = score_of(kind, said, item.label), score_of(kind, before, item.label)
    item.candidate_ms, item.baseline_ms = _spent_ms(candidate), _spent_ms(baseline)
    item.disagreed = differ(kind, said, before)
    item.settled_at = func.now()


def _replay(session: Session, backtest: Backtest, items: Sequence[BacktestItem]) -> int:
    """Ask both versions each request again."""
    sources = _read(session, [item.source_id for item in items])
    submissions: list[Submission] = []
    for item in items:
        source = sources.get(item.source_id)
        if source is None or (source.input is None and source.input_sha256 is None):
            _skip(item, REQUEST_GONE)
            continue
        pair = [_submission(backtest, source, version) for version in _versions(backtest)]
        item.candidate_id, item.baseline_id = (each.id for each in pair)
        submissions += pair
    if submissions:
        session.flush()
        ledger.submit(session.connection(), submissions)
    return len(submissions)


def _versions(backtest: Backtest) -> tuple[int, int]:
    return backtest.model_version_id, backtest.baseline_version_id


def _submission(backtest: Backtest, source: Prediction, model_version_id: int) -> Submission:
    item = source.item
    return Submission(
        id=uuid7(),
        # The tenant's whose request it is: it must see, and be able to forget, all that was made of it.
        api_key_id=source.api_key_id,
        model_id=source.model_id,
        model_version_id=model_version_id,
        reply_channel=None,
        priority=Priority.BULK,
        input=source.input,
        input_sha256=source.input_sha256,
        input_bytes=source.input_bytes,
        catalog=None if item is None else item.catalog,
        external_id=None if item is None else item.external_id,
        backtest_id=backtest.id,
    )


def _read(session: Session, ids: Iterable[UUID]) -> Mapping[UUID | None, Prediction]:
    wanted = list(ids)
    if not wanted:
        return {}
    statement = (
        select(Prediction)
        .options(joinedload(Prediction.item))
        .where(
            Prediction.id.in_(wanted),
            # Bounds leave out the partitions that hold none of them.
            Prediction.id.between(min(wanted), max(wanted)),
        )
    )
    rows: dict[UUID | None, Prediction] = {row.id: row for row in session.scalars(statement)}
    return rows


def _skip(item: BacktestItem, reason: str) -> None:
    item.skip_reason, item.settled_at = reason, func.now()


def _spent_ms(prediction: Prediction) -> float | None:
    spent: list[Any] = [each for each in (prediction.decode_ms, prediction.compute_ms) if each is not None]
    return sum(spent) if spent else None
