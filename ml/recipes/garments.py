"""Recipe of ``garments``: a small U-Net on scenes composed from Fashion-MNIST and real photographs, on the fly."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ml.datasets.fashion_mnist import DEFAULT_DIRECTORY
from ml.datasets.garment_scenes import CROWDED, EVEN, GROUPS, LABELS, SIDE_PX, build_composer
from ml.datasets.photographs import TEST, TRAIN
from ml.kinds import build_untrained
from ml.predictor import Predictor
from ml.recipes.recipe import RecipeOptions, Trained
from ml.scene_evaluation import EVALUATION_SCENES, EVALUATION_SEED, evaluate_scenes
from ml.spec import ModelSpec
from ml.training import FitOptions, NextBatch, OnProgress, fit_fresh

NAME = "garments"
EPOCHS = 18
EPOCH_STEPS = 500
"""Batches. No scene is ever seen twice; an epoch is only what progress is counted in."""
BATCH_SIZE = 16
COARSE_SHARE = 0.65
"""Of all steps from nothing, the first: with smaller scenes, and so many more of them that a batch costs the same
(progressive resizing). What a garment looks like is learned there, three times as fast; the rest sharpens the edges."""
COARSE_BATCH_SIZE = 32
COARSE_SIDE_PX = 64
PEAK_LEARNING_RATE = 3e-3
WEIGHT_DECAY = 1e-2
WARMUP_SHARE = 0.15

CONFIG: dict[str, Any] = {
    "name": NAME,
    "recipe": NAME,
    "description": "Which garments lie where in a picture: masks, boxes and areas of one to several of them.",
    "kind": "segmentation",
    "arch": "garment-unet",
    "arch_options": {"widths": [16, 40, 72, 120]},
    "input": {
        "type": "image",
        "size": SIDE_PX,
        "channels": 3,
        "preparation": "letterbox",
        "mean": [0.5, 0.5, 0.5],
        "std": [0.25, 0.25, 0.25],
    },
    "labels": list(LABELS),
    "max_batch": 32,
}

FRESH = f"in the first {COARSE_SHARE:.0%} of the steps with a side of {COARSE_SIDE_PX} pixels"
CONTINUED = "going on from earlier weights, with scenes of one garment as often as of four"

CARD = """# garments

{description}

- **Labels**: {labels}.
  {groups}
- **Network**: `garment-unet`, {parameters:,} parameters; the whole picture is scaled into {side} x {side} pixels, RGB.
- **Data**: scenes made by `ml/datasets/garment_scenes.py`, each of one to four garments over a crop of a photograph:
  enlarged, turned by up to 15 degrees, mirrored, stretched, dyed, patterned, shaded, partly covered, lit from one side,
  blurred, with grain. The garments are of
  [Fashion-MNIST](https://github.com/zalandoresearch/fashion-mnist) (Xiao, Rasul, Vollgraf 2017, arXiv:1708.07747; MIT
  licence, Debian package `dataset-fashion-mnist`), every label equally often; the photographs are in
  `ml/datasets/photographs/`, whose README names makers and licences. {train_scenes:,} scenes, none twice, of the first
  55,000 training garments and {n_train_photographs} photographs; {schedule}.
- **Truth**: of every pixel, the topmost garment by its outline as one would cut it out with scissors, holes filled.
- **Command**: `python -m ml.train garments {arguments} --out ml/bundled/garments`; took
  {seconds:.0f} s on {threads} CPU thread(s) of a busy machine.

## Measured

Mean intersection over union, summed over all pixels of all scenes: over all labels, as is usual since PASCAL VOC, and,
stricter, over the {n_garment_labels} garment labels without the background. Each scene is encoded as a JPEG file and
goes the way of a request.

| measured on | mean IoU | garments alone |
|---|---|---|
| {validation_scenes:,} scenes of held-out training garments, photographs seen in training | {validation} |
| {test_scenes:,} scenes of test garments on photographs never seen ({test_photographs}) | {test} |

| label | IoU, held out |
|---|---|
{by_label}

`python -m ml.evaluate garments` measures the second row again (seed {test_seed}). The test scenes chose nothing.

## Limits

Composed scenes are not photographs of clothes in use: garments lie flat, whole or covered in part, from 28 x 28 gray
pixels. Garments worn by people, folded, or smaller than a third of the picture are not what it has learned, and what
is no garment may still get a label. T-shirts, pullovers, coats and shirts are one label because they can hardly be told
apart at this size: see the classifier `fashion`. Scores are softmax values; they were not calibrated.

Licence of the weights: MIT, as this repository.
"""


def train_garments(options: RecipeOptions, on_progress: OnProgress | None = None) -> Trained:
    """Train from nothing and measure; ``options.limit`` is the most scenes of an epoch and of each measurement.

    Raises:
        DatasetError: The data is not there.
        TrainingError: The training failed.
    """
    directory: Path = options.data or DEFAULT_DIRECTORY
    epochs = options.choose_epochs(EPOCHS)
    steps = EPOCH_STEPS if options.limit is None else min(EPOCH_STEPS, -(-options.limit // BATCH_SIZE))
    # Who goes on knows what garments look like; large ones, alone in a scene, are what crowds taught too little.
    coarse_steps = round(steps * epochs * COARSE_SHARE) if options.weights is None else 0
    next_batch = _build_batches(directory, coarse_steps, CROWDED if options.weights is None else EVEN)
    torch.manual_seed(options.seed)
    started = time.perf_counter()
    predictor = build_untrained(ModelSpec.from_config(NAME, 1, CONFIG), options.device)
    options.begin(predictor)
    # About twice as fast on CPUs as the default layout, with the channels last in memory too.
    predictor.module.to(memory_format=torch.channels_last)
    fit_options = FitOptions(
        epochs=epochs,
        batch_size=BATCH_SIZE,
        peak_learning_rate=options.choose_rate(PEAK_LEARNING_RATE),
        weight_decay=WEIGHT_DECAY,
        warmup_share=WARMUP_SHARE,
        seed=options.seed,
        optimizer="adamw",
    )
    fit_fresh(predictor, next_batch, fit_options, steps=steps, on_progress=on_progress, checkpoints=options.checkpoints)
    predictor.module.to(memory_format=torch.contiguous_format)
    metrics = {
        "train_scenes": coarse_steps * COARSE_BATCH_SIZE + (steps * epochs - coarse_steps) * BATCH_SIZE,
        "epochs": epochs,
        "seed": options.seed,
        "continued": options.weights is not None,
        "peak_learning_rate": fit_options.peak_learning_rate,
        "seconds": round(time.perf_counter() - started, 1),
        "threads": torch.get_num_threads(),
        **_measure(predictor, directory, options.limit),
    }
    return Trained(predictor=predictor, config=CONFIG, metrics=metrics, card=_write_card(predictor, metrics))


def _build_batches(directory: Path, coarse_steps: int, crowding: Sequence[float]) -> NextBatch:
    coarse = build_composer("train", directory, size=(COARSE_SIDE_PX, COARSE_SIDE_PX), crowding=crowding)
    fine = build_composer("train", directory, crowding=crowding)

    def next_batch(generator: torch.Generator, made: int) -> tuple[Tensor, Tensor]:
        if made < coarse_steps:
            scenes = coarse.compose(COARSE_BATCH_SIZE, generator)
        else:
            scenes = fine.compose(BATCH_SIZE, generator)
        return scenes.images, scenes.masks

    return next_batch


def _measure(predictor: Predictor, directory: Path, limit: int | None) -> dict[str, Any]:
    count = min(EVALUATION_SCENES, limit or EVALUATION_SCENES)
    validation = evaluate_scenes(predictor, build_composer("validation", directory), count)
    test = evaluate_scenes(predictor, build_composer("test", directory), count)
    return {
        "validation_scenes": validation.scenes,
        "validation_mean_iou": round(validation.mean_iou, 4),
        "validation_garment_iou": round(validation.garment_iou, 4),
        "test_scenes": test.scenes,
        "test_seed": EVALUATION_SEED,
        "test_mean_iou": round(test.mean_iou, 4),
        "test_garment_iou": round(test.garment_iou, 4),
        "test_iou_by_label": {label: round(iou, 4) for label, iou in test.by_label.items()},
    }


def _describe_arguments(metrics: dict[str, Any]) -> str:
    seeded = f"--seed {metrics['seed']} --epochs {metrics['epochs']}"
    if not metrics["continued"]:
        return seeded
    return f"{seeded} --learning-rate {metrics['peak_learning_rate']:g} --weights EARLIER"


def _write_card(predictor: Predictor, metrics: dict[str, Any]) -> str:
    grouped = [f"{label} stands for {', '.join(of)}." for label, of in GROUPS.items() if len(of) > 1]
    return CARD.format(
        **metrics,
        description=CONFIG["description"],
        labels=", ".join(LABELS),
        groups=" ".join(grouped),
        side=SIDE_PX,
        schedule=CONTINUED if metrics["continued"] else FRESH,
        arguments=_describe_arguments(metrics),
        parameters=sum(parameter.numel() for parameter in predictor.module.parameters()),
        n_train_photographs=len(TRAIN),
        n_garment_labels=len(GROUPS),
        test_photographs=", ".join(TEST),
        validation=f"{metrics['validation_mean_iou']:.3f} | {metrics['validation_garment_iou']:.3f}",
        test=f"**{metrics['test_mean_iou']:.3f}** | {metrics['test_garment_iou']:.3f}",
        by_label="\n".join(f"| {label} | {iou:.3f} |" for label, iou in metrics["test_iou_by_label"].items()),
    )
