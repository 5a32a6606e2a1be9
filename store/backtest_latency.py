"""What a backtest says of the time that two versions take, and how sure that is.

Requests that were computed in one batch share its time, so they are no independent measurements and an interval over
single requests would be far too narrow. As usual with such series, it is taken over the means of consecutive blocks
that are no shorter than what hangs together (batch means): here over the medians, which single hiccups do not move.
"""

from dataclasses import dataclass

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from store.statistics.paired import PairSums, compare_means
from store.tables.backtest import Backtest, BacktestItem
from store.tables.model_version import ModelVersion

#: Of the interval of the difference.
CONFIDENCE = 0.95

#: With fewer blocks than this no interval is told; more than that many make it no truer.
LEAST_BLOCKS = 4
MOST_BLOCKS = 20

#: Items of one batch where a version's configuration does not say, see `ml.spec`.
DEFAULT_MAX_BATCH = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class Latency:
    """Median milliseconds of a request, decoding and computing with its batch, on the devices that replayed it.

    Attributes:
        candidate: Of the version that is tried.
        baseline: Of the other.
        difference: Above 0 the version that is tried is slower.
        low: Where the interval of the difference begins; None where there are too few requests to say.
        high: Where it ends.
        confidence: Of the interval, 0..1.
    """

    candidate: float
    baseline: float
    difference: float
    low: float | None
    high: float | None
    confidence: float


def measure_latency(session: Session, backtest: Backtest) -> Latency | None:
    """Compare the times of the requests that both versions answered; None while there are none."""
    count = session.scalar(select(func.count()).where(*_timed(backtest))) or 0
    if count == 0:
        return None
    blocks = min(MOST_BLOCKS, count // _longest_batch(session, backtest))
    is_sure = blocks >= LEAST_BLOCKS
    sums = _sum_blocks(session, backtest, blocks if is_sure else 1)
    found = compare_means(sums, confidence=CONFIDENCE)
    candidate, baseline = sums.candidate / sums.items, sums.baseline / sums.items
    return Latency(
        candidate=candidate,
        baseline=baseline,
        difference=candidate - baseline,
        low=found.low if is_sure else None,
        high=found.high if is_sure else None,
        confidence=CONFIDENCE,
    )


def _sum_blocks(session: Session, backtest: Backtest, blocks: int) -> PairSums:
    """Add up the medians of so many blocks of consecutive requests."""
    block = func.ntile(blocks).over(order_by=BacktestItem.position).label("block")
    items = select(block, BacktestItem.candidate_ms, BacktestItem.baseline_ms).where(*_timed(backtest)).subquery()
    medians = (
        select(
            func.percentile_cont(0.5).within_group(items.c.candidate_ms).label("candidate"),
            func.percentile_cont(0.5).within_group(items.c.baseline_ms).label("baseline"),
        )
        .group_by(items.c.block)
        .subquery()
    )
    apart = medians.c.candidate - medians.c.baseline
    found = session.execute(
        select(
            func.count(), func.sum(medians.c.candidate), func.sum(medians.c.baseline), func.sum(apart * apart)
        ).select_from(medians)
    ).one()
    return PairSums(items=found[0], candidate=found[1], baseline=found[2], squares=found[3])


def _timed(backtest: Backtest) -> list[ColumnElement[bool]]:
    return [
        BacktestItem.backtest_id == backtest.id,
        BacktestItem.candidate_ms.is_not(None),
        BacktestItem.baseline_ms.is_not(None),
    ]


def _longest_batch(session: Session, backtest: Backtest) -> int:
    versions = (
        session.get_one(ModelVersion, version_id)
        for version_id in (backtest.model_version_id, backtest.baseline_version_id)
    )
    return max(int(version.config.get("max_batch", DEFAULT_MAX_BATCH)) for version in versions)
