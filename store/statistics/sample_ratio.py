"""Whether the versions got the shares of traffic that they should have got.

A split that is off tells of a fault that makes every other figure doubtful: requests of one version that are lost, or
a client that repeats what one version failed. The test may be looked at any time: a Dirichlet-multinomial mixture is a
martingale while the shares are right (Lindon and Malek 2022, "Anytime-valid inference for multinomial count data").
"""

import math
from collections.abc import Sequence

#: Weight of the prior around the shares that should be: deviations of about a tenth of a share are found soonest.
STRENGTH = 100.0


def log_evidence_of_mismatch(counts: Sequence[int], shares: Sequence[float]) -> float:
    """Return the logarithm of the evidence against true shares.

    Args:
        counts: Assignments by version, each made independently of the others.
        shares: What they should be: positive, in sum 1.
    """
    total = sum(counts)
    evidence = math.lgamma(STRENGTH) - math.lgamma(STRENGTH + total)
    for count, share in zip(counts, shares, strict=True):
        prior = STRENGTH * share
        evidence += math.lgamma(prior + count) - math.lgamma(prior) - count * math.log(share)
    return evidence
