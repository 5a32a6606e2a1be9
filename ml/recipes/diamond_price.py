"""Recipe of ``diamond-price``: a residual network on the attributes of diamonds, in minutes on one CPU core."""

import time
from typing import Any

import torch
from torch import Tensor

from ml.datasets.diamonds import DEFAULT_DIRECTORY, FIELDS, SHARES, PricedDiamonds, load_splits
from ml.errors import TrainingError
from ml.evaluations.regression import MIN_ITEMS, RegressionEvaluation, evaluate_regression
from ml.kinds import build_untrained
from ml.recipes.recipe import RecipeOptions, Trained
from ml.regression import RegressionPredictor
from ml.spec import ModelSpec
from ml.training import FitOptions, OnProgress, compute_threads, fit, forward_all

NAME = "diamond-price"
EPOCHS = 40
BATCH_SIZE = 256
PEAK_LEARNING_RATE = 3e-3
WEIGHT_DECAY = 1e-2

THREADS = 1
"""Whatever the command says: the network's operations are so small that a second thread saves little, and on a busy
machine the two wait for each other many times longer than they compute."""

CONFIG: dict[str, Any] = {
    "name": NAME,
    "recipe": NAME,
    "description": "What a round cut diamond costs in US dollars, from its weight, grades and measures.",
    "kind": "regression",
    "arch": "tabular-resnet",
    "arch_options": {"width": 128, "blocks": 3, "embedding": 8, "frequencies": 16},
    "kind_options": {"unit": "USD", "transform": "log", "interval": 0.8, "decimals": 0},
    "max_batch": 256,
}

N_SAMPLES = 16
"""Training diamonds that come along with the model: the engine judges faster ways to run it by them."""

CARD = """# diamond-price

{description}

- **Input**: {fields}.
- **Result**: the median price, and an interval meant to hold {interval:.0%} of all prices.
- **Network**: `tabular-resnet`, {parameters:,} parameters; predicts three quantiles of the logarithm of the price.
- **Interval**: quantile regression, then conformal calibration (CQR, Romano, Patterson, Candès 2019, arXiv:1905.03222)
  on {calibration_items:,} diamonds that the training did not see: both ends moved outwards by {offset:.5f} standard
  deviations of the log price.
- **Data**: `diamonds` of [ggplot2](https://ggplot2.tidyverse.org/reference/diamonds.html), MIT licence, in this
  repository at `ml/datasets/data/`. 53,940 diamonds; left out are the 20 with a side of 0 mm and the 3 with an
  impossible one. Split at random {shares} into training ({train_items:,}), calibration and test; equal diamonds are
  in one part. The settings were chosen on an earlier random split; the test part of this one chose nothing.
- **Command**: `python -m ml.train diamond-price --seed {seed} --epochs {epochs} --out ml/bundled/diamond-price`;
  took {seconds:.0f} s with {threads} CPU thread(s).

| measured on {test_items:,} test diamonds with `python -m ml.evaluate diamond-price` | |
|---|---|
| R² of the price | {test_r2:.4f} |
| prices within their interval | {test_coverage:.2%} |
| median error | {test_median_error:,.0f} USD |
| median width of the interval | {test_median_width:.1%} of the price |

| price in USD | within the interval | median error in USD |
|---|---|---|
{by_decile}

## Limits

Prices as they were when the data was collected, about 2008: for comparing diamonds, not for buying one today. Round
cuts only. The interval holds its share over all diamonds together, not in every price range: the table shows how far
that goes. Values outside of the stated ranges are refused, and near their ends, above about 3 ct, there were few
examples.

Licence of the weights: MIT, as this repository.
"""


def train_diamond_price(options: RecipeOptions, on_progress: OnProgress | None = None) -> Trained:
    """Train from nothing, calibrate the interval, and measure.

    Raises:
        DatasetError: The data is not there.
        TrainingError: The training failed.
    """
    training, calibration, test = _load(options)
    torch.manual_seed(options.seed)
    started = time.perf_counter()
    # Weights are good for the scale alone that they were trained in.
    config = _configure(training) if options.config is None else dict(options.config)
    predictor = build_untrained(ModelSpec.from_config(NAME, 1, config), options.device)
    assert isinstance(predictor, RegressionPredictor), "the configuration above says so"
    options.begin(predictor)
    fit_options = FitOptions(
        epochs=options.choose_epochs(EPOCHS),
        batch_size=options.batch_size or BATCH_SIZE,
        peak_learning_rate=options.choose_rate(PEAK_LEARNING_RATE),
        weight_decay=WEIGHT_DECAY,
        seed=options.seed,
        optimizer="adamw",
    )
    items, prices, weights = options.add_examples(predictor, training.items, training.prices)
    with compute_threads(THREADS):
        fit(
            predictor,
            items,
            prices,
            fit_options,
            weights=weights,
            on_progress=on_progress,
            checkpoints=options.checkpoints,
        )
    predictor = predictor.calibrated(forward_all(predictor, calibration.items), calibration.prices)
    metrics = {
        "train_items": len(items),
        "calibration_items": len(calibration),
        "epochs": fit_options.epochs,
        "seed": options.seed,
        "seconds": round(time.perf_counter() - started, 1),
        "threads": THREADS,
        **_measure(evaluate_regression(predictor, test.items, test.prices)),
    }
    config = {**config, "kind_options": predictor.spec.kind_options}
    return Trained(predictor=predictor, config=config, metrics=metrics, card=_write_card(predictor, metrics))


def _load(options: RecipeOptions) -> list[PricedDiamonds]:
    """Training, calibration and test."""
    if options.limit is not None and options.limit < MIN_ITEMS:
        raise TrainingError(
            f"{options.limit} diamond(s) are too few to train and to measure; take {MIN_ITEMS} or more."
        )
    return [part.part(0, options.limit) for part in load_splits(options.data or DEFAULT_DIRECTORY).values()]


def _configure(training: PricedDiamonds) -> dict[str, Any]:
    """The configuration with what the training part is standardised by."""
    fields = [
        field if field["type"] == "choice" else {**field, **_standardise(training.items[:, index])}
        for index, field in enumerate(FIELDS)
    ]
    return {
        **CONFIG,
        "input": {"type": "record", "fields": fields},
        "samples": training.records[:N_SAMPLES],
        "kind_options": {**CONFIG["kind_options"], **_standardise(training.prices.log())},
    }


def _standardise(values: Tensor) -> dict[str, float]:
    mean, std = float(values.double().mean()), float(values.double().std())
    # Few diamonds may all agree on a value.
    return {"mean": round(mean, 4), "std": round(std, 4) or 1.0}


def _measure(test: RegressionEvaluation) -> dict[str, Any]:
    return {
        "test_items": test.items,
        "test_r2": round(test.r2, 4),
        "test_coverage": round(test.coverage, 4),
        "test_median_error": round(test.median_error, 1),
        "test_median_width": round(test.median_width, 4),
        "test_deciles": [
            {
                "from": round(group.start),
                "to": round(group.end),
                "coverage": round(group.coverage, 4),
                "median_error": round(group.median_error, 1),
            }
            for group in test.deciles
        ],
    }


def _write_card(predictor: RegressionPredictor, metrics: dict[str, Any]) -> str:
    return CARD.format(
        **metrics,
        description=CONFIG["description"],
        fields="; ".join(f"`{field.name}`: {field.expected}" for field in predictor.spec.input.fields),
        interval=predictor.target.interval,
        offset=predictor.target.offset,
        shares=" : ".join(f"{share:.0%}" for share in SHARES.values()),
        parameters=sum(parameter.numel() for parameter in predictor.module.parameters()),
        by_decile="\n".join(
            f"| {group['from']:,} to {group['to']:,} | {group['coverage']:.1%} | {group['median_error']:,.0f} |"
            for group in metrics["test_deciles"]
        ),
    )
