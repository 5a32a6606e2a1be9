"""Recipe of ``xor``: a 2-8-1 network, trained in seconds, for examples and for measuring overhead."""

import time
from typing import Any

import torch
from torch import Tensor

from ml.datasets.xor import LABELS, load_table
from ml.kinds import build_untrained
from ml.recipes.recipe import RecipeOptions, Trained
from ml.spec import ModelSpec
from ml.training import FitOptions, OnProgress, fit, forward_all

NAME = "xor"
EPOCHS = 50
BATCH_SIZE = 32
PEAK_LEARNING_RATE = 0.3
REPEATS = 64
"""Copies of the table in one pass; each copy is changed by its own noise."""
NOISE = 0.1
"""Standard deviation of what is added to every input in training, so that 0.9 counts as 1."""

CONFIG: dict[str, Any] = {
    "name": NAME,
    "recipe": NAME,
    "description": "Exclusive or of two numbers near 0 or 1: the smallest network, for examples and measurements.",
    "kind": "classification",
    "arch": "mlp",
    "arch_options": {"hidden": [8]},
    "input": {"type": "vector", "size": 2},
    "labels": list(LABELS),
    "max_batch": 256,
    # The table, exact and as noisy as in training: what a faster way to run the network is judged by.
    "samples": [
        [0, 0],
        [0, 1],
        [1, 0],
        [1, 1],
        [0.1, -0.1],
        [-0.1, 0.9],
        [1.1, 0.1],
        [0.9, 1.1],
        [-0.2, 0.1],
        [0.2, 0.8],
        [0.8, -0.1],
        [1.2, 0.8],
    ],
}

CARD = """# xor

{description}

- **Network**: `mlp`, 2-8-1 with tanh, one logit for two labels.
- **Data**: the four lines of the exclusive-or table with Gaussian noise (standard deviation {noise}); no data set.
- **Command**: `python -m ml.train xor --seed {seed} --epochs {epochs} --out ml/bundled/xor`, seconds on any CPU.
- **Metrics**: accuracy on the table {accuracy:.2f}; lowest score of a right answer {lowest_score:.3f}.
- **Limits**: made for inputs near 0 or 1. Elsewhere it answers too, but there is no right answer to compare with.
- **Licence**: MIT, as this repository.
"""


def train_xor(options: RecipeOptions, on_progress: OnProgress | None = None) -> Trained:
    """Train from nothing; ``options.data`` and ``options.limit`` mean nothing here.

    Raises:
        TrainingError: The training failed.
    """
    torch.manual_seed(options.seed)
    started = time.perf_counter()
    predictor = build_untrained(ModelSpec.from_config(NAME, 1, CONFIG), options.device)
    inputs, targets = load_table()
    options.begin(predictor)
    epochs = options.choose_epochs(EPOCHS)
    fit_options = FitOptions(
        epochs=epochs,
        batch_size=options.batch_size or BATCH_SIZE,
        peak_learning_rate=options.choose_rate(PEAK_LEARNING_RATE),
        seed=options.seed,
    )
    items, wanted, weights = options.add_examples(predictor, inputs.repeat(REPEATS, 1), targets.repeat(REPEATS))
    fit(
        predictor,
        items,
        wanted,
        fit_options,
        weights=weights,
        augment=_add_noise,
        on_progress=on_progress,
        checkpoints=options.checkpoints,
    )
    outputs = forward_all(predictor, inputs)
    scores = torch.where(targets == 1, outputs[:, 0].sigmoid(), 1 - outputs[:, 0].sigmoid())
    metrics = {
        "train_items": len(items),
        "accuracy": predictor.metric(outputs, targets),
        "lowest_score": round(float(scores.min()), 4),
        "epochs": epochs,
        "seed": options.seed,
        "seconds": round(time.perf_counter() - started, 1),
    }
    card = CARD.format(description=CONFIG["description"], noise=NOISE, **metrics)
    return Trained(predictor=predictor, config=CONFIG, metrics=metrics, card=card)


def _add_noise(inputs: Tensor, generator: torch.Generator) -> Tensor:
    return inputs + NOISE * torch.randn(inputs.shape, generator=generator)
