"""Evaluation of ``fashion-similar``: how many of a test image's nearest training images show the same."""

from dataclasses import asdict

from ml.bundles import read_bundle
from ml.datasets.fashion_mnist import DEFAULT_DIRECTORY, load_split
from ml.evaluation import PHOTO_LIKE_ITEMS, encode_png, photo_like_encoder
from ml.evaluations.evaluation import EvaluationOptions, Report
from ml.retrieval import evaluate_retrieval


def evaluate_fashion_similar(options: EvaluationOptions) -> Report:
    """Search the training images for the neighbours of the test images, all or the first; of photo-like ones 1,000.

    Raises:
        MLError: The model or the data cannot be read.
    """
    directory = options.data or DEFAULT_DIRECTORY
    limit = options.limit
    if limit is None and options.photo_like:
        limit = PHOTO_LIKE_ITEMS
    result = evaluate_retrieval(
        read_bundle(options.model).build(),
        load_split("train", directory),
        load_split("test", directory).part(0, limit),
        photo_like_encoder() if options.photo_like else encode_png,
    )
    return Report(
        title=f"{result.items:,} test images among {result.indexed:,}",
        measured=asdict(result),
        columns=("label", "precision at 10"),
        rows=[(label, f"{precision:.2%}") for label, precision in result.by_label.items()],
        total=("all", f"{result.precision_at_10:.2%}"),
    )
