"""Intervals that hold the share of targets that they state: conformalized quantile regression.

Romano, Patterson, Candès 2019, arXiv:1905.03222: whatever the network, an interval widened by the offset found here
holds a new target with at least the stated probability, as long as new items come from where the calibration's came.

Shapes: N items.
"""

import math

import torch
from torch import Tensor

from ml.errors import TrainingError


def pinball_loss(predicted: Tensor, targets: Tensor, quantile: float) -> Tensor:
    """Mean loss that the true quantile makes smallest (Koenker, Bassett 1978): a scalar.

    Args:
        predicted: ``[N]`` float.
        targets: ``[N]`` float.
        quantile: Above 0 and below 1; 0.9 makes targets above the prediction nine times as dear as those below.
    """
    difference = targets - predicted
    return torch.maximum(quantile * difference, (quantile - 1) * difference).mean()


def conformal_offset(low: Tensor, high: Tensor, targets: Tensor, interval: float) -> float:
    """By how much intervals must grow at both ends (below 0: may shrink) to hold the share ``interval`` of targets.

    Args:
        low: ``[N]`` float, the lower ends for items that no training saw.
        high: ``[N]`` float, the upper ends.
        targets: ``[N]`` float.
        interval: Above 0 and below 1.

    Raises:
        TrainingError: There are too few items to promise that share.
    """
    outside = torch.maximum(low - targets, targets - high)
    # One more than the share of N, because the new item counts as one of N + 1 in any order.
    rank = math.ceil((len(targets) + 1) * interval)
    if rank > len(targets):
        raise TrainingError(f"{len(targets)} item(s) are too few to calibrate an interval of {interval:.0%}.")
    return float(outside.sort().values[rank - 1])


def coverage(low: Tensor, high: Tensor, targets: Tensor) -> float:
    """Share, 0..1, of targets that lie within their interval; all three are ``[N]``, in one unit."""
    return float(((low <= targets) & (targets <= high)).double().mean())
