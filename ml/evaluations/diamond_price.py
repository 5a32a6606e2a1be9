"""Evaluation of ``diamond-price``: R² and the coverage of its intervals on the test diamonds, of all and by price."""

from dataclasses import asdict

import torch
from torch import Tensor

from ml.bundles import read_bundle
from ml.datasets.diamonds import DEFAULT_DIRECTORY, PricedDiamonds, load_splits
from ml.errors import EvaluationError, InvalidInputError, InvalidSpecError
from ml.evaluations.evaluation import EvaluationOptions, Report
from ml.evaluations.regression import GROUPS, MIN_ITEMS, RegressionEvaluation, evaluate_regression
from ml.predictor import Predictor
from ml.regression import RegressionPredictor


def evaluate_diamond_price(options: EvaluationOptions) -> Report:
    """Evaluate on the test diamonds, sent the way of a request: all of them or the first.

    Raises:
        MLError: The model or the data cannot be read, or the options ask for what this model cannot do.
    """
    if options.photo_like:
        raise EvaluationError("diamond-price takes no pictures; leave --photo-like out.")
    if options.limit is not None and options.limit < MIN_ITEMS:
        raise EvaluationError(f"--limit must be {MIN_ITEMS} or more: prices are looked at in {GROUPS} parts.")
    predictor = read_bundle(options.model).build()
    if not isinstance(predictor, RegressionPredictor):
        raise InvalidSpecError("kind", f"must be 'regression' to be evaluated as one; {options.model} has another.")
    test = load_splits(options.data or DEFAULT_DIRECTORY)["test"].part(0, options.limit)
    result = evaluate_regression(predictor, _decode(predictor, test), test.prices)
    return _report(result, predictor.target.unit)


def _decode(predictor: Predictor, diamonds: PricedDiamonds) -> Tensor:
    decoded = predictor.decode_batch(diamonds.records)
    refused = [item for item in decoded if isinstance(item, InvalidInputError)]
    if refused:
        raise refused[0]
    return torch.stack([item for item in decoded if isinstance(item, Tensor)])


def _report(result: RegressionEvaluation, unit: str) -> Report:
    return Report(
        title=f"{result.items:,} test diamonds, R² {result.r2:.4f}",
        measured=asdict(result),
        columns=(f"price in {unit}", "within the interval", f"median error in {unit}"),
        rows=[
            (f"{group.start:,.0f} to {group.end:,.0f}", f"{group.coverage:.1%}", f"{group.median_error:,.0f}")
            for group in result.deciles
        ],
        total=("all", f"{result.coverage:.2%}", f"{result.median_error:,.0f}"),
    )
