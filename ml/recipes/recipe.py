"""What a recipe is: one trained model of ours, from data to model card, in one call."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ml.predictor import Predictor
from ml.training import OnProgress


@dataclass(frozen=True, kw_only=True)
class RecipeOptions:
    """What may be changed from outside; None leaves the recipe's own choice.

    Args:
        data: Folder of the data set.
        epochs: Passes over the data.
        seed: Of the fresh weights, the order and the augmentation.
        limit: Most items used of each part of the data.
        device: Anything that ``torch.device`` takes.
    """

    data: Path | None = None
    epochs: int | None = None
    seed: int = 0
    limit: int | None = None
    device: str = "cpu"


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A trained model and all that its folder says about it; see ``ml.bundles.write_bundle``."""

    predictor: Predictor
    config: dict[str, Any]
    metrics: dict[str, Any]
    card: str


Recipe = Callable[[RecipeOptions, OnProgress | None], Trained]
"""Raises an ``MLError`` when the data is not there or the training fails."""
