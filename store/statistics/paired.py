"""Comparing two versions on the same items: the gain, how sure it is, and whether chance explains it.

Every item is answered by both, so what the items have in common cancels. Pure arithmetic on sums: a table may add them
up and needs not hand over every row.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import NormalDist

_NORMAL = NormalDist()


@dataclass(frozen=True, kw_only=True, slots=True)
class Gain:
    """How much better a candidate is than a baseline.

    Attributes:
        items: Compared by both.
        candidate: Its figure: accuracy, mean score, or mean absolute error.
        baseline: The same of the baseline.
        gain: Above 0 the candidate is better. A difference of the figures, or where `relative`, a share of the
            baseline's.
        low: Where the interval begins; -inf where there are too few items to say.
        high: Where it ends.
        confidence: Of the interval, 0..1.
        p_value: How likely a difference like this, or a larger one, is if neither is better.
    """

    items: int
    candidate: float
    baseline: float
    gain: float
    low: float
    high: float
    confidence: float
    p_value: float


@dataclass(frozen=True, kw_only=True, slots=True)
class PairCounts:
    """Items by who was right.

    Attributes:
        both: Both were.
        candidate_only: Only the candidate.
        baseline_only: Only the baseline.
        neither: Nobody.
    """

    both: int = 0
    candidate_only: int = 0
    baseline_only: int = 0
    neither: int = 0

    @property
    def items(self) -> int:
        """All of them."""
        return self.both + self.candidate_only + self.baseline_only + self.neither


@dataclass(frozen=True, kw_only=True, slots=True)
class PairSums:
    """Sums over items of scores, more of which is better.

    Attributes:
        items: How many.
        candidate: Sum of the candidate's scores.
        baseline: Sum of the baseline's.
        squares: Sum of the squared differences.
    """

    items: int = 0
    candidate: float = 0.0
    baseline: float = 0.0
    squares: float = 0.0


def count_pairs(pairs: Iterable[tuple[float, float]]) -> PairCounts:
    """Count pairs (candidate, baseline) of scores that are 1 for right and 0 for wrong."""
    counts = {(True, True): 0, (True, False): 0, (False, True): 0, (False, False): 0}
    for candidate, baseline in pairs:
        counts[candidate > 0, baseline > 0] += 1
    return PairCounts(
        both=counts[True, True],
        candidate_only=counts[True, False],
        baseline_only=counts[False, True],
        neither=counts[False, False],
    )


def sum_pairs(pairs: Iterable[tuple[float, float]]) -> PairSums:
    """Add up pairs (candidate, baseline) of scores."""
    rows = list(pairs)
    return PairSums(
        items=len(rows),
        candidate=math.fsum(candidate for candidate, _ in rows),
        baseline=math.fsum(baseline for _, baseline in rows),
        squares=math.fsum((candidate - baseline) ** 2 for candidate, baseline in rows),
    )


def compare_shares(counts: PairCounts, *, confidence: float) -> Gain:
    """Compare two accuracies.

    The interval is Bonett and Price's adjusted Wald interval for paired proportions (2012), which holds its level with
    few items and never has no width; the p-value is McNemar's exact test (1947).
    """
    n = counts.items
    if n == 0:
        return _unknown(confidence)
    won, lost = (counts.candidate_only + 1) / (n + 2), (counts.baseline_only + 1) / (n + 2)
    half = _z(confidence) * math.sqrt((won + lost - (won - lost) ** 2) / (n + 2))
    return Gain(
        items=n,
        candidate=(counts.both + counts.candidate_only) / n,
        baseline=(counts.both + counts.baseline_only) / n,
        gain=(counts.candidate_only - counts.baseline_only) / n,
        low=max(-1.0, won - lost - half),
        high=min(1.0, won - lost + half),
        confidence=confidence,
        p_value=_mcnemar(counts.candidate_only, counts.baseline_only),
    )


def compare_means(sums: PairSums, *, confidence: float, relative: bool = False) -> Gain:
    """Compare two mean scores by Student's paired interval and test.

    Args:
        sums: Over all items.
        confidence: Of the interval, 0..1.
        relative: The scores are minus absolute errors: figures are the errors, the gain is a share of the baseline's.
    """
    n = sums.items
    if n < 2:
        return _unknown(confidence)
    mean = (sums.candidate - sums.baseline) / n
    variance = max(0.0, (sums.squares - n * mean**2) / (n - 1))
    deviation = math.sqrt(variance / n)
    scale = _scale(-sums.baseline / n) if relative else 1.0
    sign = -1 if relative else 1
    half = _t(confidence, n - 1) * deviation
    return Gain(
        items=n,
        candidate=sign * sums.candidate / n,
        baseline=sign * sums.baseline / n,
        gain=mean / scale,
        low=(mean - half) / scale,
        high=(mean + half) / scale,
        confidence=confidence,
        p_value=_two_sided(mean, deviation),
    )


def shared_confidence(confidence: float, intervals: int) -> float:
    """What each of several intervals must hold, so that all of them together hold `confidence` (Bonferroni)."""
    return 1 - (1 - confidence) / max(1, intervals)


def _unknown(confidence: float) -> Gain:
    return Gain(
        items=0,
        candidate=0.0,
        baseline=0.0,
        gain=0.0,
        low=-math.inf,
        high=math.inf,
        confidence=confidence,
        p_value=1.0,
    )


def _mcnemar(won: int, lost: int) -> float:
    """Twice the chance of so few heads or fewer in as many throws of a fair coin."""
    n, least = won + lost, min(won, lost)
    if n == 0:
        return 1.0
    # In logarithms: half to the power of thousands is no float.
    logs = [
        math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) - n * math.log(2) for k in range(least + 1)
    ]
    return min(1.0, 2 * math.fsum(math.exp(each) for each in logs))


def _two_sided(mean: float, deviation: float) -> float:
    if deviation == 0:
        return 1.0 if mean == 0 else 0.0
    return 2 * _NORMAL.cdf(-abs(mean) / deviation)


def _scale(error: float) -> float:
    # A baseline without any error leaves the gain as it is, in the target's unit.
    return error if error > 0 else 1.0


def _z(confidence: float) -> float:
    return _NORMAL.inv_cdf(0.5 + confidence / 2)


def _t(confidence: float, freedom: int) -> float:
    """Student's quantile by its expansion around the normal one (Abramowitz and Stegun 26.7.5)."""
    z = _z(confidence)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
    )
    return z + math.fsum(term / float(freedom) ** power for power, term in enumerate(terms, start=1))
