"""Recipe of ``fashion``: a small convolutional network on Fashion-MNIST, in about ten minutes on two CPU cores."""

import time
from pathlib import Path
from typing import Any

import torch

from ml.augment import augment_garments
from ml.datasets.fashion_mnist import (
    DEFAULT_DIRECTORY,
    LABELS,
    MEAN,
    SIDE_PX,
    STD,
    LabelledImages,
    load_split,
)
from ml.evaluation import PHOTO_LIKE_ITEMS, Evaluation, evaluate, photo_like_encoder
from ml.kinds import build_untrained
from ml.predictor import Predictor
from ml.recipes.recipe import RecipeOptions, Trained
from ml.spec import ModelSpec
from ml.training import FitOptions, OnProgress, fit

NAME = "fashion"
EPOCHS = 18
BATCH_SIZE = 256
PEAK_LEARNING_RATE = 0.15
WEIGHT_DECAY = 5e-4

TRAIN_SHARE = 11 / 12
"""Of the training set: 55,000 images are trained on; the other 5,000 are for watching and for choosing. The test set
chooses nothing: it is looked at once, at the end."""

CONFIG: dict[str, Any] = {
    "name": NAME,
    "recipe": NAME,
    "description": "Which of ten kinds of garment a photo shows: one garment on a plain background.",
    "kind": "classification",
    "arch": "fashion-cnn",
    "arch_options": {"widths": [32, 64, 128]},
    "input": {
        "type": "image",
        "size": SIDE_PX,
        "channels": 1,
        "preparation": "garment",
        "mean": [MEAN],
        "std": [STD],
    },
    "labels": list(LABELS),
    "max_batch": 64,
}

CARD = """# fashion

{description}

- **Labels**: {labels}.
- **Network**: `fashion-cnn`, {parameters:,} parameters, residual convolutions, 28 x 28 gray input.
- **Data**: [Fashion-MNIST](https://github.com/zalandoresearch/fashion-mnist) (Xiao, Rasul, Vollgraf 2017,
  arXiv:1708.07747), MIT licence, Debian package `dataset-fashion-mnist`. Trained on the first {train_items:,} training
  images; the other {validation_items:,} were for watching; the test images chose nothing.
- **Command**: `python -m ml.train fashion --seed {seed} --epochs {epochs} --out ml/bundled/fashion`;
  took {seconds:.0f} s on {threads} CPU threads.
- **Preparation**: `ml/garments.py` finds the background from the corners, cuts the garment out, scales and centres it.

| measured on | command | accuracy |
|---|---|---|
| {validation_items:,} held-out training images | (while training) | {validation_accuracy:.2%} |
| {test_items:,} test images | `python -m ml.evaluate fashion` | {test_accuracy:.2%} |
| {photo_like_items:,} of them as photos | `python -m ml.evaluate fashion --photo-like` | {photo_like_accuracy:.2%} |

| label | accuracy on its test images |
|---|---|
{by_label}

The photos are the first test images, dark on white, enlarged, somewhere on 480 x 640 pixels, with a little grain.

## Limits

One garment, whole and upright, on a background of about one colour. It has seen shop photos only, at 28 x 28 pixels and
without colour: people, several garments, folded ones or busy backgrounds get an answer that means little, and so does
anything that is no garment. Shirt, T-shirt/top, Pullover and Coat are confused most. Scores are softmax values after
training with label smoothing; they were not calibrated.

Licence of the weights: MIT, as this repository.
"""


def train_fashion(options: RecipeOptions, on_progress: OnProgress | None = None) -> Trained:
    """Train from nothing and measure.

    Raises:
        DatasetError: The data is not there.
        TrainingError: The training failed.
    """
    training, validation, test = _load(options)
    torch.manual_seed(options.seed)
    started = time.perf_counter()
    predictor = build_untrained(ModelSpec.from_config(NAME, 1, CONFIG), options.device)
    options.begin(predictor)
    # About twice as fast on CPUs as the default layout, with the channels last in memory too.
    predictor.module.to(memory_format=torch.channels_last)
    fit_options = FitOptions(
        epochs=options.choose_epochs(EPOCHS),
        batch_size=options.batch_size or BATCH_SIZE,
        peak_learning_rate=options.choose_rate(PEAK_LEARNING_RATE),
        weight_decay=WEIGHT_DECAY,
        seed=options.seed,
        bfloat16=_computes_bfloat16_fast(options.device),
    )
    images, targets, weights = options.add_examples(predictor, training.images, training.targets)
    fit(
        predictor,
        images,
        targets,
        fit_options,
        weights=weights,
        augment=augment_garments,
        on_progress=on_progress,
        checkpoints=options.checkpoints,
    )
    predictor.module.to(memory_format=torch.contiguous_format)
    metrics = {
        "train_items": len(images),
        "epochs": fit_options.epochs,
        "seed": options.seed,
        "seconds": round(time.perf_counter() - started, 1),
        "threads": torch.get_num_threads(),
        **_measure(predictor, validation, test),
    }
    return Trained(predictor=predictor, config=CONFIG, metrics=metrics, card=_write_card(predictor, metrics))


def _load(options: RecipeOptions) -> tuple[LabelledImages, LabelledImages, LabelledImages]:
    """Training, validation and test images."""
    directory: Path = options.data or DEFAULT_DIRECTORY
    labelled, test = load_split("train", directory), load_split("test", directory)
    n_training = round(len(labelled) * TRAIN_SHARE)
    parts = labelled.part(0, n_training), labelled.part(n_training), test
    training, validation, test = (part.part(0, options.limit) for part in parts)
    return training, validation, test


def _measure(predictor: Predictor, validation: LabelledImages, test: LabelledImages) -> dict[str, Any]:
    photo_like = evaluate(predictor, test.part(0, PHOTO_LIKE_ITEMS), photo_like_encoder())
    measured: dict[str, Evaluation] = {
        "validation": evaluate(predictor, validation),
        "test": evaluate(predictor, test),
        "photo_like": photo_like,
    }
    metrics: dict[str, Any] = {}
    for name, evaluation in measured.items():
        metrics[f"{name}_items"] = evaluation.items
        metrics[f"{name}_accuracy"] = round(evaluation.accuracy, 4)
    metrics["test_accuracy_by_label"] = {
        label: round(accuracy, 4) for label, accuracy in measured["test"].by_label.items()
    }
    return metrics


def _write_card(predictor: Predictor, metrics: dict[str, Any]) -> str:
    by_label = metrics["test_accuracy_by_label"]
    return CARD.format(
        **metrics,
        description=CONFIG["description"],
        labels=", ".join(LABELS),
        parameters=sum(parameter.numel() for parameter in predictor.module.parameters()),
        by_label="\n".join(f"| {label} | {accuracy:.1%} |" for label, accuracy in by_label.items()),
    )


def _computes_bfloat16_fast(device: str) -> bool:
    """Whether bfloat16 is faster than float32; CPUs without instructions for it emulate it, slowly."""
    if device != "cpu":
        return True
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").split()
    except OSError:
        return False
    return not {"amx_bf16", "avx512_bf16"}.isdisjoint(flags)
