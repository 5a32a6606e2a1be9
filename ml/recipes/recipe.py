"""What a recipe is: one trained model of ours, from data to model card, in one call."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ml.checkpoints import Checkpoints
from ml.examples import Examples
from ml.predictor import Predictor
from ml.training import OnProgress
from ml.weights import load_weights

FINE_TUNING_RATE = 0.2
"""Of a recipe's peak learning rate, where it goes on from trained weights: more would undo what they know."""

FINE_TUNING_EPOCHS = 1 / 3
"""Of a recipe's epochs, likewise."""


@dataclass(frozen=True, kw_only=True)
class RecipeOptions:
    """What may be changed from outside; None leaves the recipe's own choice.

    Args:
        data: Folder of the data set.
        epochs: Passes over the data.
        batch_size: Items in one step.
        learning_rate: Peak of the schedule.
        seed: Of the fresh weights, the order and the augmentation.
        limit: Most items used of each part of the data.
        device: Anything that ``torch.device`` takes.
        use_base: Whether the recipe's own data is trained on; it is measured on in any case.
        config: Configuration to keep to, such as that of the version whose weights are gone on from.
        weights: To go on from, as safetensors; None begins with fresh ones.
        examples: What feedback or a caller adds.
        checkpoints: Where to go on from after a kill, and where every epoch is kept.
    """

    data: Path | None = None
    epochs: int | None = None
    batch_size: int | None = None
    learning_rate: float | None = None
    seed: int = 0
    limit: int | None = None
    device: str = "cpu"
    use_base: bool = True
    config: Mapping[str, Any] | None = None
    weights: bytes | None = None
    examples: Examples | None = None
    checkpoints: Checkpoints | None = None

    def choose_epochs(self, usual: int) -> int:
        """The epochs that were asked for, or the recipe's usual, fewer where it goes on from trained weights."""
        if self.epochs is not None:
            return self.epochs
        return usual if self.weights is None else max(1, round(usual * FINE_TUNING_EPOCHS))

    def choose_rate(self, usual: float) -> float:
        """The learning rate that was asked for, or the recipe's usual, lower where it goes on from trained weights."""
        if self.learning_rate is not None:
            return self.learning_rate
        return usual if self.weights is None else usual * FINE_TUNING_RATE

    def begin(self, predictor: Predictor) -> None:
        """Fill in the weights to go on from, if any.

        Raises:
            WeightsError: They are of another architecture.
        """
        if self.weights is not None:
            load_weights(predictor.module, self.weights)

    def add_examples(
        self, predictor: Predictor, items: Tensor, targets: Tensor
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Put the examples behind the recipe's own data, or in its place.

        Args:
            predictor: Decodes them.
            items: ``[N, ...]`` of the recipe.
            targets: ``[N]``, likewise.

        Returns:
            Items, targets, and how often each comes; None for once each.

        Raises:
            TrainingError: Examples of this kind of model cannot be learned from.
        """
        if not self.use_base:
            items, targets = items[:0], targets[:0]
        decoded = None if self.examples is None else self.examples.decode(predictor)
        if decoded is None or len(decoded.targets) == 0:
            return items, targets, None
        if len(items) == 0:
            return decoded.items, decoded.targets, decoded.weights
        weights = torch.cat([torch.ones(len(items)), decoded.weights])
        return torch.cat([items, decoded.items]), torch.cat([targets, decoded.targets]), weights


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A trained model and all that its folder says about it; see ``ml.bundles.write_bundle``."""

    predictor: Predictor
    config: dict[str, Any]
    metrics: dict[str, Any]
    card: str


Recipe = Callable[[RecipeOptions, OnProgress | None], Trained]
"""Raises an ``MLError`` when the data is not there or the training fails."""
