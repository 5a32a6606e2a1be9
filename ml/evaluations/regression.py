"""How well a regression does: how close its values are, and whether its intervals hold what they state.

Shapes: N items.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from ml.conformal import coverage
from ml.regression import RegressionPredictor
from ml.training import forward_all

GROUPS = 10
"""Parts of equal size that the items are cut into by their target: deciles."""

MIN_ITEMS = GROUPS
"""So that every part has one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """The items whose targets lie from ``start`` to ``end``; both in the target's unit, as are the errors.

    Args:
        start: Least target.
        end: Greatest target.
        coverage: Share of targets within their interval, 0..1.
        median_error: Half of the values are closer to their target than this.
    """

    start: float
    end: float
    coverage: float
    median_error: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RegressionEvaluation:
    """What was measured on all items, and on their deciles by target.

    Args:
        items: N.
        r2: Share of the targets' variance that the values explain.
        coverage: Share of targets within their interval, 0..1.
        median_error: Half of the values are closer to their target than this, in the target's unit.
        median_width: Half of the intervals are narrower than this share of their value.
        deciles: From the least targets to the greatest.
    """

    items: int
    r2: float
    coverage: float
    median_error: float
    median_width: float
    deciles: list[Group]


def evaluate_regression(predictor: RegressionPredictor, items: Tensor, targets: Tensor) -> RegressionEvaluation:
    """Answer items ``[N, ...]`` as decoded, N at least ``MIN_ITEMS``, and compare with targets ``[N]``."""
    outputs = forward_all(predictor, items)
    quantiles = predictor.quantiles(outputs)
    low, value, high = quantiles.unbind(dim=1)
    wanted = targets.cpu().double()
    by_target = wanted.argsort()
    return RegressionEvaluation(
        items=len(wanted),
        r2=predictor.metric(outputs, targets),
        coverage=coverage(low, high, wanted),
        median_error=float((value - wanted).abs().median()),
        median_width=float(((high - low) / value).median()),
        deciles=[_measure(quantiles[chosen], wanted[chosen]) for chosen in torch.tensor_split(by_target, GROUPS)],
    )


def _measure(quantiles: Tensor, targets: Tensor) -> Group:
    low, value, high = quantiles.unbind(dim=1)
    return Group(
        start=float(targets.min()),
        end=float(targets.max()),
        coverage=coverage(low, high, targets),
        median_error=float((value - targets).abs().median()),
    )
