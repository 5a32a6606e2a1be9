"""Intervals that hold at every moment at once, so that a comparison may be looked at, and ended, at any time.

An ordinary 95 % interval is right at one moment that was fixed before. Looked at after every answer it will exclude the
truth sooner or later. These are confidence sequences: with probability 1 - alpha the truth is within all of them.

Each rests on a martingale that stands at 1 when the truth is assumed, so that it ever exceeds 1 / alpha with
probability alpha at most (Ville). Right and wrong answers: the beta-binomial mixture, exact for every number of answers
(Robbins 1970; Howard, Ramdas, McAuliffe and Sekhon 2021, "Time-uniform, nonparametric, nonasymptotic confidence
sequences"). Errors of numbers, which have no bound: the normal mixture with the variance estimated, which holds once
there are some dozens (Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas 2024, "Time-uniform central limit theory and
asymptotic confidence sequences").

For two versions the product of their martingales is one. The pairs of values under which it stays below 1 / alpha are
a confidence set for both at once, and the differences of its pairs an interval for the difference, tighter than one
from two single intervals. It holds however the answers were shared out, also by what was learned from earlier ones.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from store.statistics.special import log_beta

# Jeffreys' prior: the intervals are short where nearly all answers are right, or nearly none failed.
PRIOR = 0.5

#: Errors of numbers: with fewer than this, the estimated variance says nothing yet.
LEAST_MEASURED = 30

# Intervals of means are tightest around so many observations; beyond, they lose little.
TUNED_FOR = 1_000

# For alpha = 0.05: -W(-alpha² / e) - 1 of Howard et al. 2021, section 3.5.
TUNING_DIVISOR = 8.2

STEPS = 60
GOLDEN = (math.sqrt(5.0) - 1.0) / 2.0


@dataclass(frozen=True, slots=True)
class Interval:
    """Both ends belong to it; an infinite one says that nothing is known."""

    lower: float
    upper: float

    def is_within(self, margin: float) -> bool:
        """Whether all of it is closer to zero than a margin."""
        return -margin < self.lower and self.upper < margin


UNKNOWN = Interval(-math.inf, math.inf)


@dataclass(frozen=True, slots=True)
class Proportion:
    """How many of `trials` were `hits`."""

    hits: int
    trials: int

    @property
    def value(self) -> float | None:
        """The share that was seen; None without a trial."""
        return self.hits / self.trials if self.trials else None

    @property
    def variance(self) -> float:
        """Of a single answer. With half a hit and half a miss more: a share of 0 or 1 that was seen is not certain."""
        share = (self.hits + PRIOR) / (self.trials + 2.0 * PRIOR)
        return share * (1.0 - share)

    def log_evidence(self, truth: float) -> float:
        """Return the logarithm of the evidence against a true share."""
        return self._mixture() + self._surprise(truth)

    def plus(self, other: Self) -> "Proportion":
        """Return both as if they were of one version."""
        return Proportion(self.hits + other.hits, self.trials + other.trials)

    def interval(self, alpha: float) -> Interval:
        """Return the share's interval, which holds at all times at once but with probability alpha."""
        seen = self.value
        if seen is None:
            return Interval(0.0, 1.0)
        limit = -math.log(alpha) - self._mixture()
        return Interval(
            _boundary(lambda truth: self._surprise(truth) < limit, seen, 0.0),
            _boundary(lambda truth: self._surprise(truth) < limit, seen, 1.0),
        )

    def log_evidence_of_difference(self, other: Self) -> float:
        """Return the logarithm of the evidence against both shares being the same."""
        pooled = self.plus(other).value
        return 0.0 if pooled is None else self.log_evidence(pooled) + other.log_evidence(pooled)

    def minus(self, other: Self, alpha: float) -> Interval:
        """Return the interval of this share minus another."""
        mine, theirs = self.value, other.value
        if mine is None or theirs is None:
            return Interval(-1.0, 1.0)
        limit = -math.log(alpha) - self._mixture() - other._mixture()

        def is_possible(difference: float) -> bool:
            return self._least_surprise(other, difference) < limit

        seen = mine - theirs
        return Interval(_boundary(is_possible, seen, -1.0), _boundary(is_possible, seen, 1.0))

    def is_more_by(self, other: Self, margin: float, alpha: float) -> bool:
        """Whether the interval of this share minus another lies above a margin; found at a fraction of its cost."""
        mine, theirs = self.value, other.value
        if mine is None or theirs is None or mine - theirs <= margin:
            return False
        limit = -math.log(alpha) - self._mixture() - other._mixture()
        return margin < -1.0 or self._least_surprise(other, margin) >= limit

    def _mixture(self) -> float:
        """Logarithm of how likely the hits are under the mixture of all shares."""
        return log_beta(PRIOR + self.hits, PRIOR + self.trials - self.hits) - log_beta(PRIOR, PRIOR)

    def _surprise(self, truth: float) -> float:
        """Negative logarithm of how likely the hits are under a true share."""
        return -_times_log(self.hits, truth) - _times_log(self.trials - self.hits, 1.0 - truth)

    def _least_surprise(self, other: Self, difference: float) -> float:
        """Return the least surprise over all pairs of true shares that differ by so much."""
        return _minimum(
            lambda truth: other._surprise(truth) + self._surprise(min(1.0, max(0.0, truth + difference))),
            max(0.0, -difference),
            min(1.0, 1.0 - difference),
        )


EMPTY = Proportion(0, 0)


@dataclass(frozen=True, slots=True)
class Mean:
    """Numbers by their count, sum and sum of squares."""

    trials: int
    total: float
    total_of_squares: float

    @property
    def value(self) -> float | None:
        """The mean that was seen; None without a number."""
        return self.total / self.trials if self.trials else None

    @property
    def variance(self) -> float:
        """The variance that was seen; 0.0 with fewer than two numbers."""
        if self.trials < 2:
            return 0.0
        spread = self.total_of_squares - self.total * self.total / self.trials
        return max(0.0, spread / (self.trials - 1))

    def log_evidence(self, truth: float) -> float:
        """Return the logarithm of the evidence against a true mean; 0.0 while there are too few numbers."""
        value = self.value
        if value is None or not self._is_known():
            return 0.0
        return (value - truth) ** 2 / (2.0 * self._width()) - self._penalty()

    def plus(self, other: Self) -> "Mean":
        """Return both as if they were of one version."""
        squares = self.total_of_squares + other.total_of_squares
        return Mean(self.trials + other.trials, self.total + other.total, squares)

    def interval(self, alpha: float) -> Interval:
        """Return the mean's interval, which holds at all times at once but with probability alpha."""
        value = self.value
        if value is None or not self._is_known():
            return UNKNOWN
        half = math.sqrt(2.0 * self._width() * (self._penalty() - math.log(alpha)))
        return Interval(value - half, value + half)

    def log_evidence_of_difference(self, other: Self) -> float:
        """Return the logarithm of the evidence against both means being the same."""
        mine, theirs = self.value, other.value
        if mine is None or theirs is None or not (self._is_known() and other._is_known()):
            return 0.0
        # The common mean that fits best lies between both, nearer to the narrower.
        width = self._width() + other._width()
        return (mine - theirs) ** 2 / (2.0 * width) - self._penalty() - other._penalty()

    def minus(self, other: Self, alpha: float) -> Interval:
        """Return the interval of this mean minus another: the confidence set of both is an ellipse."""
        mine, theirs = self.value, other.value
        if mine is None or theirs is None or not (self._is_known() and other._is_known()):
            return UNKNOWN
        limit = self._penalty() + other._penalty() - math.log(alpha)
        half = math.sqrt(2.0 * limit * (self._width() + other._width()))
        return Interval(mine - theirs - half, mine - theirs + half)

    def is_more_by(self, other: Self, margin: float, alpha: float) -> bool:
        """Whether the interval of this mean minus another lies above a margin."""
        return self.minus(other, alpha).lower > margin

    def _is_known(self) -> bool:
        return self.trials >= LEAST_MEASURED and self.variance > 0.0

    def _width(self) -> float:
        """Squared scale of the mean's distance from the truth."""
        return self.variance * (self.trials + _TUNING) / self.trials**2

    def _penalty(self) -> float:
        """What looking at any time costs, in units of log evidence."""
        return 0.5 * math.log((self.trials + _TUNING) / _TUNING)


_TUNING = TUNED_FOR / TUNING_DIVISOR

Estimate = Proportion | Mean


def _times_log(count: int, share: float) -> float:
    """Count times the logarithm of a share; what never happened tells nothing against a share of zero."""
    if count == 0:
        return 0.0
    return count * math.log(share) if share > 0.0 else -math.inf


def _boundary(is_possible: Callable[[float], bool], inside: float, outermost: float) -> float:
    """Find where the possible values end, on the way from one inside to the outermost; errs to the outside."""
    if is_possible(outermost):
        return outermost
    for _ in range(STEPS):
        middle = (inside + outermost) / 2.0
        if is_possible(middle):
            inside = middle
        else:
            outermost = middle
    return outermost


def _minimum(function: Callable[[float], float], low: float, high: float) -> float:
    """Return the least value of a convex function between two arguments, by golden section."""
    left, right = high - GOLDEN * (high - low), low + GOLDEN * (high - low)
    at_left, at_right = function(left), function(right)
    for _ in range(STEPS):
        if at_left <= at_right:
            high, right, at_right = right, left, at_left
            left = high - GOLDEN * (high - low)
            at_left = function(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + GOLDEN * (high - low)
            at_right = function(right)
    return min(at_left, at_right)
