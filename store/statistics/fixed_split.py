"""The difference of two versions whose shares of the traffic do not follow from what they answered.

Where every request was drawn with known shares, the difference of both versions is one running mean: each judged
answer adds what it tells of it. Its confidence sequence pays for looking at any time once, where the product of two
martingales (``store.statistics.sequences``) pays for each version: half of the answers prove the same difference.

The normal mixture with the variance estimated (Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas 2024, "Time-uniform
central limit theory and asymptotic confidence sequences", theorem 2.2). It holds once both have some dozens of answers.
"""

import math
from dataclasses import dataclass
from typing import TypeVar

from store.statistics.sequences import (
    LEAST_MEASURED,
    TUNED_FOR,
    TUNING_DIVISOR,
    UNKNOWN,
    Interval,
    Mean,
    Proportion,
)

#: Answers of both together around which the interval is tightest; far beyond, it loses little.
_TUNING = TUNED_FOR / TUNING_DIVISOR


#: Squared units of spread that the smaller side must have seen: some handful of what is rare.
LEAST_SPREAD = 5.0

E = TypeVar("E", Proportion, Mean)


def difference_interval(mine: E, theirs: E, alpha: float) -> Interval:
    """Return the interval of one mean minus the other, which holds at all times at once but with probability alpha."""
    seen = _look(mine, theirs)
    if seen is None:
        return UNKNOWN
    half = seen.scale * math.sqrt(2.0 * (1.0 + seen.tuned) * (seen.penalty - math.log(alpha)))
    return Interval(seen.difference - half, seen.difference + half)


def log_evidence_of_difference(mine: E, theirs: E) -> float:
    """Return the logarithm of the evidence against both means being the same; 0.0 while there are too few answers."""
    seen = _look(mine, theirs)
    if seen is None:
        return 0.0
    return (seen.difference / seen.scale) ** 2 / (2.0 * (1.0 + seen.tuned)) - seen.penalty


@dataclass(frozen=True, slots=True)
class _Look:
    """A difference, its standard error, and what looking at any time costs: `penalty` in units of log evidence."""

    difference: float
    scale: float
    tuned: float
    penalty: float


def _look(mine: E, theirs: E) -> _Look | None:
    """None while it says nothing."""
    if mine.value is None or theirs.value is None or min(mine.trials, theirs.trials) < LEAST_MEASURED:
        return None
    # A few answers, nearly all of them right, look more certain than they are; those of both tell better.
    pooled = mine.plus(theirs).variance
    if pooled == 0.0 or (isinstance(mine, Proportion) and min(mine.trials, theirs.trials) * pooled < LEAST_SPREAD):
        return None
    scale = math.sqrt(max(mine.variance, pooled) / mine.trials + max(theirs.variance, pooled) / theirs.trials)
    tuned = _TUNING / (mine.trials + theirs.trials)
    return _Look(mine.value - theirs.value, scale, tuned, 0.5 * math.log1p(1.0 / tuned))
