"""How the versions of a model did in real traffic: what each answered, how fast, and how often it was right.

Only predictions whose version was drawn count, so that nothing but the version differs between two of them. What they
ended with is read from sums by minute, and feedback from its index, so that a comparison of millions costs little.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, func, select
from sqlalchemy.orm import Session

from schemas.enums import PredictionStatus, StickyKey, TrafficPolicy
from schemas.traffic import DAY_S
from store import comparison_sql as sql
from store.models import get_model, list_versions
from store.partitions import CLOCK_SLACK, least_id
from store.statistics.sequences import EMPTY, Estimate, Mean, Proportion
from store.statistics.verdicts import Judged, SampleRatio, check_sample_ratio
from store.stats import BUCKET_RATIO
from store.tables.model import Model
from store.tables.model_version import ModelVersion
from store.tables.traffic import Traffic
from store.traffic import arm_versions

#: Without a split, a comparison goes back so far.
DEFAULT_SPAN = timedelta(seconds=DAY_S)

#: Web processes go by a new split after so long at the latest; what they assigned until then says nothing of it.
FOLLOWED_WITHIN = timedelta(seconds=5)

#: Pairs of a shadow's results and answers that are looked at, the latest ones.
SHADOW_PAIRS = 10_000

#: The member of a result that two versions agree on; `label` for kinds that are not here.
ANSWER_MEMBERS: Mapping[str, str] = {"regression": "value", "segmentation": "classes"}
DEFAULT_MEMBER = "label"

# A percentile says nothing before so many answers.
LEAST_FOR_P99 = 100


@dataclass(frozen=True, slots=True)
class Latencies:
    """How many predictions ended in each bucket of latency."""

    counts: Mapping[int, int] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """All of them."""
        return sum(self.counts.values())

    def percentile_bucket(self, share: float) -> int | None:
        """Return the bucket in which a percentile lies; None when nothing ended."""
        so_far = 0
        for bucket, count in sorted(self.counts.items()):
            so_far += count
            if so_far >= share * self.total:
                return bucket
        return None

    def percentile_ms(self, share: float) -> float | None:
        """Return a percentile in milliseconds, right to 2 %; None when nothing ended."""
        bucket = self.percentile_bucket(share)
        return None if bucket is None else round(BUCKET_RATIO ** (bucket - 0.5), 3)

    def slower_than(self, other: "Latencies", ratio: float) -> Proportion:
        """Count what took more than so many times the other's 99th percentile; nothing while that is unknown."""
        slowest = other.percentile_bucket(0.99) if other.total >= LEAST_FOR_P99 else None
        if slowest is None:
            return Proportion(0, 0)
        limit = slowest + math.log(ratio) / math.log(BUCKET_RATIO)
        return Proportion(sum(count for bucket, count in self.counts.items() if bucket > limit), self.total)


NO_LATENCIES = Latencies()


@dataclass(frozen=True, slots=True)
class Served:
    """What one version did."""

    version_id: int
    number: int
    failures: Proportion = EMPTY
    latencies: Latencies = NO_LATENCIES
    quality: Estimate | None = None
    """Right answers; or, of numbers, how far they were off. None without feedback."""


@dataclass(frozen=True, slots=True)
class Shadowed:
    """What a shadow version did beside the answers: the latest pairs of both."""

    number: int
    pairs: int
    failures: Proportion
    agreement: Proportion
    difference: Mean
    percentiles_ms: Mapping[str, float | None]


@dataclass(frozen=True, slots=True)
class Comparison:
    """The versions of a model side by side; `champion` is the one that the others are measured by, None if unseen."""

    model: str
    policy: TrafficPolicy
    since: datetime
    champion: Served | None
    challengers: Sequence[Served]
    judged: Sequence[Judged]
    sample_ratio: SampleRatio
    shadows: Sequence[Shadowed]


def compare(session: Session, name: str, *, since: datetime | None = None) -> Comparison:
    """Compare what the versions of a model did.

    Args:
        session: To read with.
        name: Of the model.
        since: From then on; None: since the split of today began, or within a day where there is none.

    Raises:
        UnknownModelError: There is no such model.
    """
    model = get_model(session, name)
    row = session.get(Traffic, model.id, populate_existing=True)
    start = since or _default_start(session, row)
    versions = {version.id: version for version in list_versions(session, name)}
    arms = [] if row is None else [version.id for version in arm_versions(session, row)]
    served = measure(session.connection(), list(versions.values()), start, always=arms)
    champion_id = model.champion_id if row is None or row.champion_id not in served else row.champion_id
    champion = None if champion_id is None else served.pop(champion_id, None)
    challengers = list(served.values())
    return Comparison(
        model=name,
        policy=_policy_now(model, row),
        since=start,
        champion=champion,
        challengers=challengers,
        judged=[] if champion is None else judge_all(champion, challengers, _policy_now(model, row)),
        sample_ratio=_sample_ratio(session, row, start),
        shadows=_shadows(session, model.kind, row, start),
    )


def judge_all(champion: Served, challengers: Sequence[Served], policy: TrafficPolicy) -> list[Judged]:
    """Judge each challenger against the champion; together they are wrong with the probability of one."""
    return [
        Judged.of(
            challenger.number,
            challenger.quality,
            champion.quality,
            comparisons=len(challengers),
            is_fixed=policy is TrafficPolicy.FIXED,
        )
        for challenger in challengers
    ]


def measure(
    connection: Connection, versions: Sequence[ModelVersion], since: datetime, *, always: Iterable[int]
) -> dict[int, Served]:
    """Measure what versions did since a time, by id in the order of their numbers.

    Args:
        connection: To read with.
        versions: Of one model.
        since: Predictions that ended since then, and feedback on those that were accepted since then.
        always: Ids that are told also when they did nothing; of others only those that did something.
    """
    ids = [version.id for version in versions]
    ended: dict[int, list[Row[Any]]] = {}
    for row in sql.ENDED.run(connection, versions=ids, since=since):
        ended.setdefault(row.model_version_id, []).append(row)
    quality = read_quality(connection, ids, since)
    wanted = {*always, *ended}
    return {
        version.id: _served(version, ended.get(version.id, ()), quality.get(version.id))
        for version in sorted(versions, key=lambda version: version.number)
        if version.id in wanted
    }


def read_quality(connection: Connection, version_ids: Sequence[int], since: datetime) -> dict[int, Estimate]:
    """Sum up the feedback on drawn predictions that were accepted since a time, by version id."""
    found = sql.FEEDBACK.run(
        connection, versions=list(version_ids), since=since, least_id=least_id(since - CLOCK_SLACK)
    )
    return {row.model_version_id: estimate for row in found if (estimate := _quality(row)) is not None}


def forget_minutes(connection: Connection, *, older_than: timedelta) -> None:
    """Forget sums of traffic beyond an age."""
    sql.FORGET_MINUTES.run(connection, seconds=older_than.total_seconds())


def _default_start(session: Session, row: Traffic | None) -> datetime:
    if row is not None:
        return row.started_at
    now: datetime = session.execute(select(func.now())).scalar_one()
    return now - DEFAULT_SPAN


def _policy_now(model: Model, row: Traffic | None) -> TrafficPolicy:
    """Return how traffic is split now; a split whose champion is none any more is over."""
    if row is None or row.champion_id != model.champion_id:
        return TrafficPolicy.NONE
    return TrafficPolicy(row.policy)


def _quality(row: Row[Any]) -> Estimate | None:
    if row.judged:
        return Proportion(row.correct, row.judged)
    return Mean(row.measured, row.total_error, row.squared_error) if row.measured else None


def _served(version: ModelVersion, ended: Sequence[Row[Any]], quality: Estimate | None) -> Served:
    counts: dict[int, int] = {}
    by_status = dict.fromkeys(PredictionStatus, 0)
    for row in ended:
        by_status[PredictionStatus(row.status)] += row.predictions
        if row.status in (PredictionStatus.SUCCEEDED, PredictionStatus.FAILED):
            counts[row.latency_bucket] = counts.get(row.latency_bucket, 0) + row.predictions
    failed, succeeded = by_status[PredictionStatus.FAILED], by_status[PredictionStatus.SUCCEEDED]
    return Served(version.id, version.number, Proportion(failed, failed + succeeded), Latencies(counts), quality)


def _sample_ratio(session: Session, row: Traffic | None, since: datetime) -> SampleRatio:
    """Compare the shares that versions got since they were last set with those that they should have got."""
    if row is None or row.policy != TrafficPolicy.FIXED:
        return SampleRatio.unchecked("only the shares of a fixed split are known beforehand")
    if row.sticky == StickyKey.HEADER:
        return SampleRatio.unchecked(
            "the keys of the header are not stored, and requests of one key are not independent"
        )
    unit, statement = {
        StickyKey.NONE: ("requests", sql.ASSIGNED_REQUESTS),
        StickyKey.ITEM: ("items", sql.ASSIGNED_ITEMS),
        StickyKey.API_KEY: ("api_keys", sql.ASSIGNED_KEYS),
    }[StickyKey(row.sticky)]
    start = max(since, row.updated_at + FOLLOWED_WITHIN)
    versions = [version for version in arm_versions(session, row) if row.weights.get(str(version.number))]
    found = statement.run(
        session.connection(),
        versions=[version.id for version in versions],
        since=start,
        least_id=least_id(start - CLOCK_SLACK),
    )
    assigned = {each.model_version_id: each.assigned for each in found}
    return check_sample_ratio(
        unit,
        {version.number: assigned.get(version.id, 0) for version in versions},
        {version.number: float(row.weights[str(version.number)]) for version in versions},
    )


def _shadows(session: Session, kind: str, row: Traffic | None, since: datetime) -> list[Shadowed]:
    if row is None or not row.shadows:
        return []
    statement = select(ModelVersion).where(ModelVersion.model_id == row.model_id, ModelVersion.number.in_(row.shadows))
    return [
        _shadowed(session.connection(), version, ANSWER_MEMBERS.get(kind, DEFAULT_MEMBER), since)
        for version in session.scalars(statement.order_by(ModelVersion.number))
    ]


def _shadowed(connection: Connection, version: ModelVersion, member: str, since: datetime) -> Shadowed:
    found = sql.SHADOWS.run(
        connection,
        version=version.id,
        member=member,
        since=since,
        least_id=least_id(since - CLOCK_SLACK),
        most=SHADOW_PAIRS,
    ).one()
    names = ("shadow_p50_ms", "shadow_p99_ms", "answer_p50_ms", "answer_p99_ms")
    return Shadowed(
        number=version.number,
        pairs=found.pairs,
        failures=Proportion(found.failed, found.finished),
        agreement=Proportion(found.agreed, found.both_said),
        difference=Mean(found.measured, found.total_difference, found.squared_difference),
        percentiles_ms={name: None if getattr(found, name) is None else float(getattr(found, name)) for name in names},
    )
