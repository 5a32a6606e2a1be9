"""How sure a measured share is."""

from math import sqrt
from statistics import NormalDist

CONFIDENCE = 0.95


def wilson_interval(successes: int, trials: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Return the ends of Wilson's interval for a share (Wilson 1927), which holds for few trials and near 0 and 1.

    Args:
        successes: How often it was so.
        trials: Of so many, at least one.
        confidence: Share of such intervals that hold the true share, above 0 and below 1.
    """
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share = successes / trials
    scale = 1 + z * z / trials
    centre = (share + z * z / (2 * trials)) / scale
    margin = z / scale * sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    # Rounding must not carry an end past the share itself, nor out of 0..1.
    return max(0.0, min(centre - margin, share)), min(1.0, max(centre + margin, share))
