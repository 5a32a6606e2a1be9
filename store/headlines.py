"""The one figure of a model version that a list shows."""

from collections.abc import Mapping
from typing import Any

#: By kind, the names that its trainings give to the figure that matters most, in the order of preference.
HEADLINES: Mapping[str, tuple[str, ...]] = {
    "classification": ("test_accuracy", "imagenet_accuracy", "accuracy"),
    "regression": ("test_r2", "r2", "test_mae"),
    "segmentation": ("test_mean_iou", "test_iou", "mean_iou", "iou"),
    "similarity": ("precision_at_10", "test_precision_at_10", "recall_at_10", "test_recall_at_10"),
}

HELD_OUT = "test_"


def find_headline(kind: str, metrics: Mapping[str, Any]) -> tuple[str, float] | None:
    """Return the name and value of the figure that says most about a version.

    That is the one that its metrics name under `headline`; else the usual one of its kind; else the first fraction that
    was measured on held-out data. None when nothing was measured.
    """
    names = [str(metrics.get("headline", "")), *HEADLINES.get(kind, ())]
    names += [name for name, value in metrics.items() if name.startswith(HELD_OUT) and isinstance(value, float)]
    for name in names:
        value = metrics.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return name, value
    return None
