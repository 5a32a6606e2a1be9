"""How far one sample is from another, and whether that is more than chance.

Each comparison tells two things, and both must hold before anybody is woken. An effect size says whether the difference
matters; it does not grow with the samples, so that large ones do not raise alarms over trifles. A test says whether
chance alone would make such a difference; it keeps small samples, whose effect sizes are large by nature, from raising
alarms over noise.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import erfc, exp, inf, lgamma, log, log2, sqrt
from statistics import NormalDist

#: Categories that both samples together hold less often are counted as one: the test is for no fewer (Cochran 1954).
LEAST_COUNT = 10

#: Added to each count of the index, which has no value where one sample has none (Jeffreys' prior).
PSEUDO_COUNT = 0.5


@dataclass(frozen=True, kw_only=True, slots=True)
class Divergence:
    """How far apart two samples are.

    Attributes:
        value: The effect size.
        is_significant: Whether it is more than chance.
    """

    value: float
    is_significant: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Moments:
    """A sample of numbers: how many, their mean and their variance."""

    count: int
    mean: float
    variance: float


def js_divergence(reference: Mapping[str, int], window: Mapping[str, int], *, alpha: float) -> Divergence:
    """Compare shares of categories: the Jensen-Shannon distance, 0..1 (Lin 1991, Endres and Schindelin 2003).

    Args:
        reference: Counts by category.
        window: The same for the other sample.
        alpha: Chance of a difference that passes for significant between samples of one source.
    """
    pairs = _pool(reference, window)
    total, other = sum(a for a, _ in pairs), sum(b for _, b in pairs)
    shares = [(a / total, b / other) for a, b in pairs]
    divergence = sum(_kl_term(p, q) + _kl_term(q, p) for p, q in shares) / 2
    # Rounding may leave a trifle below 0.
    return Divergence(value=sqrt(max(divergence, 0.0)), is_significant=_differ(pairs, alpha))


def stability_index(reference: Sequence[int], window: Sequence[int], *, alpha: float) -> Divergence:
    """Compare counts by bin: the population stability index, 0 for equal shares, by custom 0.2 for a real shift.

    Args:
        reference: Counts by bin.
        window: The same bins of the other sample.
        alpha: As for `js_divergence`.
    """
    bins = len(reference)
    total, other = (sum(counts) + PSEUDO_COUNT * bins for counts in (reference, window))
    index = 0.0
    for a, b in zip(reference, window, strict=True):
        p, q = (a + PSEUDO_COUNT) / total, (b + PSEUDO_COUNT) / other
        index += (p - q) * log(p / q)
    names = [str(number) for number in range(bins)]
    pairs = _pool(dict(zip(names, reference, strict=True)), dict(zip(names, window, strict=True)))
    return Divergence(value=index, is_significant=_differ(pairs, alpha))


def share_drop(reference: tuple[int, int], window: tuple[int, int], *, alpha: float) -> Divergence:
    """Tell by how much a share fell, of (how often, of how many), with a one-sided test of two proportions."""
    (hits, total), (found, other) = reference, window
    drop = hits / total - found / other
    pooled = (hits + found) / (total + other)
    deviation = sqrt(pooled * (1 - pooled) * (1 / total + 1 / other))
    return Divergence(value=drop, is_significant=drop > _critical_z(alpha) * deviation)


def mean_rise(reference: Moments, window: Moments, *, alpha: float) -> Divergence:
    """Tell by what share a mean above 0 rose, with Welch's one-sided test (Welch 1947; large samples)."""
    rise = window.mean - reference.mean
    deviation = sqrt(reference.variance / reference.count + window.variance / window.count)
    share = rise / reference.mean if reference.mean > 0 else (inf if rise > 0 else 0.0)
    return Divergence(value=share, is_significant=rise > _critical_z(alpha) * deviation)


def decile_edges(values: Sequence[float]) -> list[float]:
    """Return what divides numbers into ten bins of about equal counts, or fewer where many are equal."""
    ordered = sorted(values)
    edges = [ordered[len(ordered) * tenth // 10] for tenth in range(1, 10)]
    # The last bin begins above an edge: one at the greatest number would leave it empty.
    return sorted({edge for edge in edges if edge < ordered[-1]})


def chi2_chance(statistic: float, degrees: int) -> float:
    """Return the chance that a chi-squared variable with so many degrees of freedom exceeds a value.

    By the sums of Abramowitz and Stegun 26.4.4 and 26.4.5; each term through its logarithm, so that none overflows.
    """
    if statistic <= 0:
        return 1.0
    half = statistic / 2
    # Halves from 1/2 on for odd degrees, whole numbers from 0 on for even ones.
    start = degrees % 2 / 2
    exponents = [start + step for step in range(degrees // 2)]
    terms = (exp(-half + exponent * log(half) - lgamma(exponent + 1)) for exponent in exponents)
    return (erfc(sqrt(half)) if degrees % 2 else 0.0) + sum(terms)


def _pool(reference: Mapping[str, int], window: Mapping[str, int]) -> list[tuple[int, int]]:
    """Pair the counts of each category, the rare ones as one."""
    pairs = [(reference.get(name, 0), window.get(name, 0)) for name in sorted({*reference, *window})]
    kept = [pair for pair in pairs if sum(pair) >= LEAST_COUNT]
    rare = [pair for pair in pairs if sum(pair) < LEAST_COUNT]
    return [*kept, (sum(a for a, _ in rare), sum(b for _, b in rare))] if rare else kept


def _differ(pairs: Sequence[tuple[int, int]], alpha: float) -> bool:
    """Test whether two samples of counts have one source (chi-squared, two samples of unequal size)."""
    if len(pairs) < 2:
        return False
    total, other = sum(a for a, _ in pairs), sum(b for _, b in pairs)
    forth, back = sqrt(other / total), sqrt(total / other)
    statistic = sum((forth * a - back * b) ** 2 / (a + b) for a, b in pairs)
    return chi2_chance(statistic, len(pairs) - 1) < alpha


def _kl_term(p: float, q: float) -> float:
    """A summand of the divergence, in bits, of `p` from the middle of both."""
    return p * log2(2 * p / (p + q)) if p > 0 else 0.0


def _critical_z(alpha: float) -> float:
    return NormalDist().inv_cdf(1 - alpha)
