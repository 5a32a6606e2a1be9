"""What the gate decides from what was measured: pure, so that every rule can be read and tried."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from schemas.enums import GateOutcome, GatePolicy
from schemas.gate_settings import GateSettings
from store.statistics.paired import Gain, compare_means, compare_shares, count_pairs, shared_confidence, sum_pairs

#: A label with fewer items is not watched by itself.
MIN_CLASS_ITEMS = 20

REGRESSION = "regression"

#: What the figures of a kind are.
METRICS = {"classification": "accuracy", REGRESSION: "mean absolute error", "segmentation": "mean IoU"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Evidence:
    """What was measured of a candidate and the champion.

    Attributes:
        kind: Of the model.
        sets: By name: `source`, `groups` and the scores of each side, as `ml.compare` writes them.
        latency_ms: By side, for one item; None where there was nothing to time.
        size_bytes: By side, of the weights.
    """

    kind: str
    sets: Mapping[str, Mapping[str, Any]]
    latency_ms: Mapping[str, float] | None
    size_bytes: Mapping[str, int]


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """One set of items: who was better by how much."""

    name: str
    source: str
    metric: str
    figures: Gain
    judged: bool

    def dump(self) -> dict[str, Any]:
        """As JSON can hold it: an interval without an end has none."""
        figures = {
            name: None if isinstance(value, float) and math.isinf(value) else value
            for name, value in asdict(self.figures).items()
        }
        return {"name": self.name, "source": self.source, "metric": self.metric, "judged": self.judged, **figures}


@dataclass(frozen=True, kw_only=True, slots=True)
class Guard:
    """A figure that must not become worse than a limit, whatever the gain."""

    name: str
    value: float
    limit: float
    held: bool
    detail: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """What the gate does with a candidate, and why."""

    outcome: GateOutcome
    reason: str
    comparisons: Sequence[Comparison] = ()
    guards: Sequence[Guard] = ()


def decide(evidence: Evidence, settings: GateSettings) -> Decision:
    """Decide.

    A candidate passes that is better on at least one set of items, beyond chance, not worse on any other by more than
    `max_loss`, and that breaks no guard. So a model may become better on what comes in now at a small price on what
    came before, and labels that are wrong are found out by the items whose labels nobody sent.
    """
    comparisons = _compare(evidence, settings)
    guards = _guard(evidence, settings)
    judged = [each for each in comparisons if each.judged]
    if not judged:
        reason = _nothing_to_judge(comparisons, settings)
        return Decision(outcome=GateOutcome.UNDECIDED, reason=reason, comparisons=comparisons, guards=guards)
    objection = _object(judged, guards, settings)
    if objection is not None:
        return Decision(outcome=GateOutcome.ARCHIVED, reason=objection, comparisons=comparisons, guards=guards)
    best = max(judged, key=lambda each: each.figures.low)
    outcome = GateOutcome.PROMOTED if settings.policy is GatePolicy.AUTO else GateOutcome.CHALLENGER
    return Decision(outcome=outcome, reason=f"better: {_tell(best)}", comparisons=comparisons, guards=guards)


def _compare(evidence: Evidence, settings: GateSettings) -> list[Comparison]:
    pairs = {name: _pairs(found) for name, found in evidence.sets.items()}
    enough = {name: len(found) >= settings.min_items for name, found in pairs.items()}
    confidence = shared_confidence(settings.confidence, sum(enough.values()))
    return [
        Comparison(
            name=name,
            source=str(evidence.sets[name]["source"]),
            metric=METRICS.get(evidence.kind, "score"),
            figures=_measure(evidence.kind, found, confidence),
            judged=enough[name],
        )
        for name, found in pairs.items()
    ]


def _pairs(found: Mapping[str, Any]) -> list[tuple[float, float]]:
    """Scores of the items that both answered; those that one failed on are the guard's business."""
    both = zip(found["candidate"], found["champion"], strict=True)
    return [(candidate, champion) for candidate, champion in both if candidate is not None and champion is not None]


def _measure(kind: str, pairs: Sequence[tuple[float, float]], confidence: float) -> Gain:
    if kind == "classification":
        return compare_shares(count_pairs(pairs), confidence=confidence)
    return compare_means(sum_pairs(pairs), confidence=confidence, relative=kind == REGRESSION)


def _guard(evidence: Evidence, settings: GateSettings) -> list[Guard]:
    guards = [_failures(evidence), _size(evidence, settings)]
    if evidence.latency_ms is not None:
        guards.append(_latency(evidence.latency_ms, settings))
    by_class = _worst_class(evidence, settings)
    return guards if by_class is None else [*guards, by_class]


def _failures(evidence: Evidence) -> Guard:
    """Items that the champion answers must be answered by the candidate too."""
    lost = sum(
        candidate is None and champion is not None
        for found in evidence.sets.values()
        for candidate, champion in zip(found["candidate"], found["champion"], strict=True)
    )
    return Guard(
        name="failures", value=lost, limit=0, held=lost == 0, detail=f"it gives no answer to {lost} items that had one"
    )


def _size(evidence: Evidence, settings: GateSettings) -> Guard:
    candidate, champion = evidence.size_bytes["candidate"], evidence.size_bytes["champion"]
    ratio, limit = candidate / max(1, champion), settings.max_size_ratio
    detail = f"its weights are {ratio:.2f} times as large, {candidate:,} bytes against {champion:,}"
    return Guard(name="size", value=ratio, limit=limit, held=ratio <= limit, detail=detail)


def _latency(latency_ms: Mapping[str, float], settings: GateSettings) -> Guard:
    candidate, champion = latency_ms["candidate"], latency_ms["champion"]
    ratio, limit = candidate / champion, settings.max_latency_ratio
    detail = f"an item takes {ratio:.2f} times as long, {candidate:.2f} ms against {champion:.2f} ms"
    return Guard(name="latency", value=ratio, limit=limit, held=ratio <= limit, detail=detail)


def _worst_class(evidence: Evidence, settings: GateSettings) -> Guard | None:
    """The label that loses most beyond chance, of those with enough items; None where items have no labels."""
    losses = []
    for name, found in evidence.sets.items():
        for label in sorted(set(found["groups"] or ())):
            gain = _measure(evidence.kind, _pairs(_only(found, label)), settings.confidence)
            if gain.items >= MIN_CLASS_ITEMS:
                losses.append((gain, f"{label} on {name}"))
    if not losses:
        return None
    limit = settings.max_class_loss
    # What chance may explain, as with a label of few items, is not held against the candidate.
    broken = [loss for loss in losses if -loss[0].gain > limit and loss[0].high <= 0]
    worst, where = min(broken or losses, key=lambda loss: loss[0].high)
    detail = f"{where}: {worst.candidate:.3f} against {worst.baseline:.3f} on {worst.items} items"
    return Guard(name="class_regression", value=-worst.gain, limit=limit, held=not broken, detail=detail)


def _only(found: Mapping[str, Any], label: str) -> dict[str, Any]:
    chosen = [index for index, group in enumerate(found["groups"]) if group == label]
    return {side: [found[side][index] for index in chosen] for side in ("candidate", "champion")}


def _object(judged: Sequence[Comparison], guards: Sequence[Guard], settings: GateSettings) -> str | None:
    """Why the candidate does not pass; None when it does."""
    broken = [guard.detail for guard in guards if not guard.held]
    if broken:
        return f"guard broken: {broken[0]}"
    worse = [each for each in judged if each.figures.low <= -settings.max_loss and each.figures.gain <= 0]
    if worse:
        return f"worse than a loss of {settings.max_loss:g} allows: {_tell(worse[0])}"
    if not any(each.figures.low > settings.min_gain for each in judged):
        best = max(judged, key=lambda each: each.figures.gain)
        return f"not better than {settings.min_gain:g} beyond chance: {_tell(best)}"
    return None


def _tell(comparison: Comparison) -> str:
    found = comparison.figures
    return (
        f"{comparison.metric} {found.candidate:.4f} against {found.baseline:.4f} on {found.items:,} items of "
        f"{comparison.name}, gain {found.gain:+.4f} ({found.low:+.4f} to {found.high:+.4f})"
    )


def _nothing_to_judge(comparisons: Sequence[Comparison], settings: GateSettings) -> str:
    most = max((each.figures.items for each in comparisons), default=0)
    return (
        f"nothing to compare on: no set has {settings.min_items} items, the largest has {most}; send more feedback, "
        "or promote by hand"
    )
