"""What is said of two versions, and when: better, worse, the same, or nothing yet."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from schemas.enums import Verdict
from store.statistics.fixed_split import difference_interval, log_evidence_of_difference
from store.statistics.sample_ratio import log_evidence_of_mismatch
from store.statistics.sequences import UNKNOWN, Estimate, Interval, Mean, Proportion

#: All verdicts of a comparison together are wrong with this probability at most, however often they are looked at.
ALPHA = 0.05

#: Shares that are off make all other figures doubtful, so they are only said to be off when there is little doubt.
RATIO_ALPHA = 0.01

#: Two versions are as good when they certainly differ by less: a share of all answers, or for numbers a share of the
#: champion's mean error.
EQUIVALENCE_MARGIN = 0.01

# Beyond, the number itself says nothing more and would not fit JSON.
LARGEST_LOG = 700.0

E = TypeVar("E", Proportion, Mean)


@dataclass(frozen=True, slots=True)
class Judged:
    """One version against the champion.

    Attributes:
        number: Of the version.
        difference: Its quality minus the champion's: a share of right answers, or the negative of mean errors, so that
            more is better; None when either has no feedback.
        interval: Of the difference; holds at all times at once.
        evidence: E-value against both being the same: the truth makes it exceed 1 / alpha with probability alpha.
        verdict: What follows.
    """

    number: int
    difference: float | None
    interval: Interval
    evidence: float
    verdict: Verdict

    @classmethod
    def of(
        cls,
        number: int,
        mine: Estimate | None,
        champion: Estimate | None,
        *,
        comparisons: int = 1,
        is_fixed: bool = False,
    ) -> "Judged":
        """Judge a version by its feedback.

        Args:
            number: Of the version.
            mine: Its quality; None without feedback.
            champion: The champion's, of the same kind.
            comparisons: How many versions are judged at once; each gets its part of `ALPHA`.
            is_fixed: Whether the shares did not follow from the answers, which makes the interval tighter.
        """
        alpha = ALPHA / comparisons
        # Less error is better: the champion's minus its own.
        if isinstance(mine, Proportion) and isinstance(champion, Proportion):
            margin = EQUIVALENCE_MARGIN
            interval = _interval(mine, champion, alpha, is_fixed=is_fixed)
            evidence = log_evidence(mine, champion, is_fixed=is_fixed)
        elif isinstance(mine, Mean) and isinstance(champion, Mean):
            margin = EQUIVALENCE_MARGIN * abs(champion.value or 0.0)
            interval = _interval(champion, mine, alpha, is_fixed=is_fixed)
            evidence = log_evidence(champion, mine, is_fixed=is_fixed)
        else:
            return cls(number, None, UNKNOWN, 1.0, Verdict.UNDECIDED)
        return cls(number, _difference(mine, champion), interval, shown_evidence(evidence), _verdict(interval, margin))


@dataclass(frozen=True, slots=True)
class SampleRatio:
    """Whether the versions got the shares that they should have got.

    Attributes:
        is_checked: Whether that can be told at all; `reason` says why not.
        unit: What was counted.
        counts: By version number.
        shares: What they should be, by version number.
        evidence: E-value against the shares being right.
        is_off: Whether they certainly are not.
    """

    is_checked: bool
    reason: str | None = None
    unit: str | None = None
    counts: Mapping[int, int] | None = None
    shares: Mapping[int, float] | None = None
    evidence: float | None = None
    is_off: bool = False

    @classmethod
    def unchecked(cls, reason: str) -> "SampleRatio":
        """Say why it is not checked."""
        return cls(is_checked=False, reason=reason)


def check_sample_ratio(unit: str, counts: Mapping[int, int], weights: Mapping[int, float]) -> SampleRatio:
    """Check what versions got.

    Args:
        unit: What was counted.
        counts: By version number.
        weights: What they should have got, in any unit, all positive.
    """
    total = sum(weights.values())
    if len(weights) < 2:
        return SampleRatio.unchecked("one version alone has no share to be off")
    shares = {number: weight / total for number, weight in weights.items()}
    evidence = log_evidence_of_mismatch([counts[number] for number in shares], list(shares.values()))
    return SampleRatio(
        is_checked=True,
        unit=unit,
        counts=counts,
        shares=shares,
        evidence=shown_evidence(evidence),
        is_off=evidence >= -math.log(RATIO_ALPHA),
    )


def log_evidence(one: E, other: E, *, is_fixed: bool) -> float:
    """Return the logarithm of the evidence against both being the same; `is_fixed` as of `Judged.of`."""
    return log_evidence_of_difference(one, other) if is_fixed else one.log_evidence_of_difference(other)


def shown_evidence(log_evidence: float) -> float:
    """Turn a logarithm of evidence into an e-value that JSON can hold."""
    return math.exp(min(log_evidence, LARGEST_LOG))


def finite(interval: Interval) -> dict[str, Any]:
    """Present an interval; an end that is not known is None."""
    ends = {"lower": interval.lower, "upper": interval.upper}
    return {name: end if math.isfinite(end) else None for name, end in ends.items()}


def _interval(more: E, less: E, alpha: float, *, is_fixed: bool) -> Interval:
    return difference_interval(more, less, alpha) if is_fixed else more.minus(less, alpha)


def _difference(mine: Estimate, champion: Estimate) -> float | None:
    if mine.value is None or champion.value is None:
        return None
    return mine.value - champion.value if isinstance(mine, Proportion) else champion.value - mine.value


def _verdict(interval: Interval, margin: float) -> Verdict:
    if interval.lower > 0.0:
        return Verdict.BETTER
    if interval.upper < 0.0:
        return Verdict.WORSE
    return Verdict.EQUIVALENT if interval.is_within(margin) else Verdict.UNDECIDED
