"""Evaluation of ``fashion``: accuracy on the test images, of all and of each label."""

from dataclasses import asdict

from ml.bundles import read_bundle
from ml.datasets.fashion_mnist import DEFAULT_DIRECTORY, load_split
from ml.evaluation import (
    PHOTO_LIKE_ITEMS,
    encode_png,
    evaluate,
    photo_like_encoder,
)
from ml.evaluations.evaluation import EvaluationOptions, Report


def evaluate_fashion(options: EvaluationOptions) -> Report:
    """Evaluate on the test images, all of them or the first; of photo-like ones 1,000 unless said.

    Raises:
        MLError: The model or the data cannot be read.
    """
    predictor = read_bundle(options.model).build()
    limit = options.limit
    if limit is None and options.photo_like:
        limit = PHOTO_LIKE_ITEMS
    test = load_split("test", options.data or DEFAULT_DIRECTORY).part(0, limit)
    result = evaluate(predictor, test, photo_like_encoder() if options.photo_like else encode_png)
    return Report(
        title=f"{result.items:,} test images",
        measured=asdict(result),
        columns=("label", "accuracy"),
        rows=[(label, f"{accuracy:.2%}") for label, accuracy in result.by_label.items()],
        total=("all", f"{result.accuracy:.2%}"),
    )
