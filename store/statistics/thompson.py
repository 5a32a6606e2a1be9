"""Thompson sampling: each version is chosen with the probability that it is the best, as far as feedback tells.

Thompson 1933; Chapelle and Li 2011, "An empirical evaluation of Thompson sampling", which also found it sturdy when
feedback comes late and in batches. Usually one draws from each posterior and takes the best. Here the probability that
such a draw would choose a version is computed itself, a refresh of the posteriors at a time, and requests draw by it:
the same choices, and the probability of each is known exactly, as off-policy estimates from the rows need it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from store.statistics.sequences import Mean, Proportion
from store.statistics.special import beta_cdf, log_beta, normal_cdf

# A density is summed up over so many points, this many standard deviations around its mean.
POINTS = 120
REACH = 9.0


@dataclass(frozen=True, slots=True)
class BetaPosterior:
    """What is known of a share of right answers, beginning with no opinion."""

    a: float
    b: float

    @classmethod
    def of(cls, seen: Proportion) -> "BetaPosterior":
        """Learn from answers that were judged."""
        return cls(1.0 + seen.hits, 1.0 + seen.trials - seen.hits)

    @property
    def mean(self) -> float:
        """Expected share."""
        return self.a / (self.a + self.b)

    @property
    def deviation(self) -> float:
        """Standard deviation."""
        total = self.a + self.b
        return math.sqrt(self.a * self.b / (total * total * (total + 1.0)))

    def density(self, x: float) -> float:
        """Density at x."""
        if not 0.0 < x < 1.0:
            return 0.0
        return math.exp((self.a - 1.0) * math.log(x) + (self.b - 1.0) * math.log1p(-x) - log_beta(self.a, self.b))

    def below(self, x: float) -> float:
        """Probability of at most x."""
        return beta_cdf(x, self.a, self.b)


@dataclass(frozen=True, slots=True)
class NormalPosterior:
    """What is known of the negative of a mean error, so that more is better."""

    mean: float
    deviation: float

    def density(self, x: float) -> float:
        """Density at x."""
        z = (x - self.mean) / self.deviation
        return math.exp(-0.5 * z * z) / (self.deviation * math.sqrt(2.0 * math.pi))

    def below(self, x: float) -> float:
        """Probability of at most x."""
        return normal_cdf((x - self.mean) / self.deviation)


Posterior = BetaPosterior | NormalPosterior


def learn_from_errors(seen: Sequence[Mean]) -> list[NormalPosterior]:
    """Learn about the mean errors of versions, with a prior as wide as the errors of all of them together."""
    pooled = Mean(
        sum(each.trials for each in seen),
        sum(each.total for each in seen),
        sum(each.total_of_squares for each in seen),
    )
    center = pooled.value or 0.0
    variance = pooled.variance or 1.0
    learned = []
    for each in seen:
        # Conjugate: the prior counts as one observation.
        weight = each.trials + 1.0
        learned.append(NormalPosterior(-(each.total + center) / weight, math.sqrt(variance / weight)))
    return learned


def choice_probabilities(posteriors: Sequence[Posterior], floor: float) -> list[float]:
    """Return with which probability each is to be chosen: that it is the best, but never less than a floor.

    Args:
        posteriors: Of one kind.
        floor: Least probability of each; at most 1 by their number. It keeps the rows usable for estimates of what
            another choice would have brought, and finds out when a version that was worse gets better.
    """
    best = [_probability_best(index, posteriors) for index in range(len(posteriors) - 1)]
    # One of them is: what is left is the last one's.
    best.append(max(0.0, 1.0 - sum(best)))
    total = sum(best)
    room = 1.0 - floor * len(best)
    return [floor + room * each / total for each in best]


def _probability_best(index: int, posteriors: Sequence[Posterior]) -> float:
    """Integrate the density of one times the probability that all others are less."""
    mine = posteriors[index]
    low, high = mine.mean - REACH * mine.deviation, mine.mean + REACH * mine.deviation
    if isinstance(mine, BetaPosterior):
        low, high = max(0.0, low), min(1.0, high)
    step = (high - low) / POINTS
    total = 0.0
    for point in range(POINTS):
        x = low + (point + 0.5) * step
        weight = mine.density(x)
        for other, theirs in enumerate(posteriors):
            if other != index:
                weight *= theirs.below(x)
        total += weight
    return total * step
