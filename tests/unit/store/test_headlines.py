from typing import Any

import pytest

from store.headlines import find_headline


@pytest.mark.parametrize(
    ("kind", "metrics", "found"),
    [
        ("classification", {"seconds": 3.0, "test_accuracy": 0.9}, ("test_accuracy", 0.9)),
        ("classification", {"imagenet_accuracy": 0.7}, ("imagenet_accuracy", 0.7)),
        ("regression", {"test_mae": 310.0, "test_r2": 0.98}, ("test_r2", 0.98)),
        ("segmentation", {"test_mean_iou": 0.86}, ("test_mean_iou", 0.86)),
        ("similarity", {"recall_at_10": 1, "precision_at_10": 0.8}, ("precision_at_10", 0.8)),
        ("multilabel", {"test_items": 100, "test_f1": 0.5}, ("test_f1", 0.5)),
        ("multilabel", {"headline": "mine", "mine": 2, "test_f1": 0.5}, ("mine", 2)),
        ("classification", {"test_accuracy": "good", "accuracy": True}, None),
        ("classification", {}, None),
    ],
)
def test_the_headline_is_the_figure_that_matters_most_for_the_kind(
    kind: str, metrics: dict[str, Any], found: tuple[str, float] | None
) -> None:
    assert find_headline(kind, metrics) == found
