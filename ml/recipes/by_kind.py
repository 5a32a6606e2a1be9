"""The recipe of every model that has none of its own: its architecture and its kind's loss, on examples alone.

Shapes: N examples, V of them held out.
"""

import time
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ml.errors import TrainingError
from ml.examples import Decoded, check_examples
from ml.kinds import build_untrained
from ml.predictor import Predictor
from ml.recipes.recipe import RecipeOptions, Trained
from ml.regression import RegressionPredictor
from ml.spec import ModelSpec
from ml.training import FitOptions, OnProgress, fit, forward_all

EPOCHS = 20
BATCH_SIZE = 64
WEIGHT_DECAY = 1e-4

PEAK_LEARNING_RATE = 2e-2
"""Of fresh weights, for AdamW."""

FINE_TUNING_LEARNING_RATE = 1e-3
"""Of trained ones."""

EPOCH_STEPS = 64
"""Steps in one epoch at least: few examples come many times, so that a handful can be learned from nothing."""

FINE_TUNING_EPOCH_STEPS = 16
"""Of trained weights, which would learn a handful by heart."""

MIN_EXAMPLES = 2

HELD_OUT_SHARE = 0.1
MIN_HELD_OUT = 20
"""With fewer held out than this a measurement says nothing, so all are trained on."""

MIN_CALIBRATION = 100
"""Fewer would move the ends of an interval by chance."""

MEASURES = {"classification": "accuracy", "regression": "r2"}

CARD = """# {name}

Trained by torchqueue on {train_items:,} examples with the loss of its kind, `{kind}`, and the architecture `{arch}`.
Held out: {validation_items:,}.
"""


def train_by_kind(options: RecipeOptions, on_progress: OnProgress | None = None) -> Trained:
    """Train the architecture of ``options.config`` on ``options.examples``.

    Raises:
        MLError: The examples do not fit, are too few, or the training failed.
    """
    if options.config is None or options.examples is None:
        raise TrainingError("A model without a recipe of its own needs a configuration and examples.")
    config = dict(options.config)
    torch.manual_seed(options.seed)
    started = time.perf_counter()
    decoded = options.examples.decode(_build(config, options.device))
    check_examples(decoded, MIN_EXAMPLES, classes=config["kind"] == "classification")
    if options.weights is None and config["kind"] == "regression":
        config["kind_options"] = _rescale(config, options.device, decoded.targets)
    predictor = _build(config, options.device)
    options.begin(predictor)
    training, held_out = _split(decoded, options.seed)
    fit_options = _choose(options, len(training.targets))
    fit(
        predictor,
        training.items,
        training.targets,
        fit_options,
        weights=training.weights * _count_repeats(options, fit_options, len(training.targets)),
        on_progress=on_progress,
        checkpoints=options.checkpoints,
    )
    predictor = _calibrate(predictor, held_out)
    metrics = {
        "train_items": len(training.targets),
        "validation_items": len(held_out.targets),
        "epochs": fit_options.epochs,
        "seed": options.seed,
        "seconds": round(time.perf_counter() - started, 1),
        "threads": torch.get_num_threads(),
        **_measure(predictor, *((held_out, "validation") if len(held_out.targets) else (training, "train"))),
    }
    config |= {"kind_options": predictor.spec.kind_options} if predictor.spec.kind_options else {}
    card = CARD.format(name=config.get("name", "model"), kind=config["kind"], arch=config["arch"], **metrics)
    return Trained(predictor=predictor, config=config, metrics=metrics, card=card)


def _build(config: Mapping[str, Any], device: str) -> Predictor:
    return build_untrained(ModelSpec.from_config(str(config.get("name", "model")), 1, config), device)


def _rescale(config: Mapping[str, Any], device: str, targets: Tensor) -> dict[str, Any]:
    """The options of a regression with the scale that these targets have."""
    predictor = _build(config, device)
    assert isinstance(predictor, RegressionPredictor), "its kind says so"
    options = dict(config.get("kind_options", {}))
    values = targets.double().log() if predictor.target.transform == "log" else targets.double()
    return options | {"mean": float(values.mean()), "std": float(values.std()) or 1.0, "offset": 0.0}


def _split(decoded: Decoded, seed: int) -> tuple[Decoded, Decoded]:
    """Training and held out; the latter is empty where there are too few."""
    count = int(len(decoded.targets) * HELD_OUT_SHARE)
    count = count if count >= MIN_HELD_OUT else 0
    order = torch.randperm(len(decoded.targets), generator=torch.Generator().manual_seed(seed))
    return _take(decoded, order[count:]), _take(decoded, order[:count])


def _take(decoded: Decoded, chosen: Tensor) -> Decoded:
    return Decoded(items=decoded.items[chosen], targets=decoded.targets[chosen], weights=decoded.weights[chosen])


def _choose(options: RecipeOptions, examples: int) -> FitOptions:
    usual = PEAK_LEARNING_RATE if options.weights is None else FINE_TUNING_LEARNING_RATE
    return FitOptions(
        epochs=options.choose_epochs(EPOCHS),
        batch_size=min(options.batch_size or BATCH_SIZE, examples),
        peak_learning_rate=options.learning_rate or usual,
        weight_decay=WEIGHT_DECAY,
        seed=options.seed,
        optimizer="adamw",
    )


def _count_repeats(options: RecipeOptions, chosen: FitOptions, examples: int) -> int:
    least = EPOCH_STEPS if options.weights is None else FINE_TUNING_EPOCH_STEPS
    return max(1, -(-least * chosen.batch_size // examples))


def _calibrate(predictor: Predictor, held_out: Decoded) -> Predictor:
    if not isinstance(predictor, RegressionPredictor) or len(held_out.targets) < MIN_CALIBRATION:
        return predictor
    return predictor.calibrated(forward_all(predictor, held_out.items), held_out.targets)


def _measure(predictor: Predictor, measured: Decoded, part: str) -> dict[str, Any]:
    """The kind's own measure; named so that lists show it."""
    name = f"{part}_{MEASURES.get(predictor.spec.kind, 'metric')}"
    value = predictor.metric(forward_all(predictor, measured.items), measured.targets)
    return {"headline": name, name: round(value, 4)}
