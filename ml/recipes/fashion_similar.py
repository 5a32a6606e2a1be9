"""Recipe of ``fashion-similar``: the body of ``fashion`` taught to place garments, in minutes on two CPU cores."""

import time
from pathlib import Path
from typing import Any

import torch

from ml.augment import augment_garments
from ml.bundles import BUNDLED_DIRECTORY, read_bundle
from ml.datasets.fashion_mnist import DEFAULT_DIRECTORY, LABELS, MEAN, SIDE_PX, STD, LabelledImages, load_split
from ml.evaluation import PHOTO_LIKE_ITEMS, photo_like_encoder
from ml.kinds import build_untrained
from ml.predictor import Predictor
from ml.recipes.fashion import TRAIN_SHARE
from ml.recipes.recipe import RecipeOptions, Trained
from ml.retrieval import evaluate_retrieval
from ml.spec import ModelSpec
from ml.training import FitOptions, OnProgress, fit

NAME = "fashion-similar"
BODY_OF = "fashion"
"""The bundled model whose body the training begins with."""

EPOCHS = 3
BATCH_SIZE = 256
PEAK_LEARNING_RATE = 0.05
WEIGHT_DECAY = 5e-4

CONFIG: dict[str, Any] = {
    "name": NAME,
    "recipe": NAME,
    "description": "Which of your items look most like a photo: one garment on a plain background.",
    "kind": "similarity",
    "arch": "fashion-embedder",
    "arch_options": {"widths": [32, 64, 128], "embedding_size": 64},
    "input": {
        "type": "image",
        "size": SIDE_PX,
        "channels": 1,
        "preparation": "garment",
        "mean": [MEAN],
        "std": [STD],
    },
    "labels": list(LABELS),
    "neighbours": 10,
    "max_batch": 64,
}

CARD = """# fashion-similar

{description}

- **Answer**: the {neighbours} nearest items of an index that you fill through the API, by Euclidean distance between
  embeddings of {embedding_size} numbers on the unit sphere (0: the same, 2: opposite).
- **Network**: `fashion-embedder`, {parameters:,} parameters: the body of `fashion`, another head,
  28 x 28 gray input.
- **Data**: [Fashion-MNIST](https://github.com/zalandoresearch/fashion-mnist) (Xiao, Rasul, Vollgraf 2017,
  arXiv:1708.07747), MIT licence, Debian package `dataset-fashion-mnist`. Trained on the first {train_items:,} training
  images, those that `fashion` was trained on; the other {validation_items:,} were for watching; the test images chose
  nothing.
- **Loss**: supervised contrastive (Khosla et al. 2020, arXiv:2004.11362), temperature 0.1, by the ten labels.
- **Command**: `python -m ml.train fashion-similar --seed {seed} --epochs {epochs} --out ml/bundled/fashion-similar`;
  took {seconds:.0f} s on {threads} CPU threads of a busy machine. It begins with the body of the bundled `fashion`.
- **Preparation**: `ml/garments.py` finds the background from the corners, cuts the garment out, scales and centres it.

How many of the ten nearest items have the label of what was asked, by exact search:

| asked | searched | precision at 1 | precision at 10 |
|---|---|---|---|
| {validation_items:,} held-out training images | the {train_items:,} trained on | {validation} |
| {test_items:,} test images | all {test_indexed:,} training images | {test} |
| {photo_like_items:,} of them as photos | the same | {photo_like} |

| label | precision at 10 of its test images |
|---|---|
{by_label}

The photos are the first test images, dark on white, enlarged, somewhere on 480 x 640 pixels, with a little grain. How
many of the exact neighbours the index finds, and how fast, is measured by `python -m benchmarks.similarity`.

## Limits

It was taught that garments of one label are alike. Within a label it orders by shape and brightness as far as 28 x 28
gray pixels show them; colour, fabric and brand mean nothing to it. One garment, whole and upright, on a background of
about one colour. Anything that is no garment gets neighbours that mean little, at distances that do not say so.

Licence of the weights: MIT, as this repository.
"""


def train_fashion_similar(options: RecipeOptions, on_progress: OnProgress | None = None) -> Trained:
    """Train from the body of the bundled ``fashion``, and measure.

    Raises:
        DatasetError: The data is not there.
        TrainingError: The training failed.
        WeightsError: The bundled ``fashion`` is damaged.
    """
    training, validation, labelled, test = _load(options)
    torch.manual_seed(options.seed)
    started = time.perf_counter()
    predictor = _build(options)
    # About twice as fast on CPUs as the default layout, with the channels last in memory too.
    predictor.module.to(memory_format=torch.channels_last)
    fit_options = FitOptions(
        epochs=options.choose_epochs(EPOCHS),
        batch_size=options.batch_size or BATCH_SIZE,
        peak_learning_rate=options.choose_rate(PEAK_LEARNING_RATE),
        weight_decay=WEIGHT_DECAY,
        seed=options.seed,
        # CPUs whose instructions for it stop at the forward take ten times as long with it.
        bfloat16=options.device != "cpu",
    )
    fit(
        predictor,
        training.images,
        training.targets,
        fit_options,
        augment=augment_garments,
        on_progress=on_progress,
        checkpoints=options.checkpoints,
    )
    predictor.module.to(memory_format=torch.contiguous_format)
    metrics = {
        "train_items": len(training),
        "epochs": fit_options.epochs,
        "seed": options.seed,
        "seconds": round(time.perf_counter() - started, 1),
        "threads": torch.get_num_threads(),
        **_measure(predictor, training, validation, labelled, test),
    }
    return Trained(predictor=predictor, config=CONFIG, metrics=metrics, card=_write_card(predictor, metrics))


def _load(options: RecipeOptions) -> tuple[LabelledImages, LabelledImages, LabelledImages, LabelledImages]:
    """Read what is trained on, what is watched, both together, and the test images."""
    directory: Path = options.data or DEFAULT_DIRECTORY
    labelled, test = load_split("train", directory), load_split("test", directory)
    n_training = round(len(labelled) * TRAIN_SHARE)
    training, validation = labelled.part(0, n_training), labelled.part(n_training)
    return (
        training.part(0, options.limit),
        validation.part(0, options.limit),
        labelled.part(0, options.limit),
        test.part(0, options.limit),
    )


def _build(options: RecipeOptions) -> Predictor:
    """Build the network with what it begins with: the weights of the options, else the body of `BODY_OF`."""
    predictor = build_untrained(ModelSpec.from_config(NAME, 1, CONFIG), options.device)
    if options.weights is None:
        body = read_bundle(BUNDLED_DIRECTORY / BODY_OF).build().module.get_submodule("features")
        predictor.module.get_submodule("features").load_state_dict(body.state_dict())
    options.begin(predictor)
    return predictor


def _measure(
    predictor: Predictor,
    training: LabelledImages,
    validation: LabelledImages,
    labelled: LabelledImages,
    test: LabelledImages,
) -> dict[str, Any]:
    measured = {
        "validation": evaluate_retrieval(predictor, training, validation),
        "test": evaluate_retrieval(predictor, labelled, test),
        "photo_like": evaluate_retrieval(predictor, labelled, test.part(0, PHOTO_LIKE_ITEMS), photo_like_encoder()),
    }
    metrics: dict[str, Any] = {}
    for name, evaluation in measured.items():
        metrics[f"{name}_items"] = evaluation.items
        metrics[f"{name}_indexed"] = evaluation.indexed
        metrics[f"{name}_precision_at_1"] = round(evaluation.precision_at_1, 4)
        metrics[f"{name}_precision_at_10"] = round(evaluation.precision_at_10, 4)
    metrics["test_precision_at_10_by_label"] = {
        label: round(precision, 4) for label, precision in measured["test"].by_label.items()
    }
    return metrics


def _write_card(predictor: Predictor, metrics: dict[str, Any]) -> str:
    by_label = metrics["test_precision_at_10_by_label"]
    both = {
        name: " | ".join(f"{metrics[f'{name}_precision_at_{count}']:.2%}" for count in (1, 10))
        for name in ("validation", "test", "photo_like")
    }
    return CARD.format(
        **metrics,
        **both,
        description=CONFIG["description"],
        neighbours=CONFIG["neighbours"],
        embedding_size=CONFIG["arch_options"]["embedding_size"],
        parameters=sum(parameter.numel() for parameter in predictor.module.parameters()),
        by_label="\n".join(f"| {label} | {precision:.1%} |" for label, precision in by_label.items()),
    )
