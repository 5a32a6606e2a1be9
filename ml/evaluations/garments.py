"""Evaluation of ``garments``: intersection over union on scenes of test garments over photographs never trained on."""

from dataclasses import asdict

from ml.bundles import read_bundle
from ml.datasets.fashion_mnist import DEFAULT_DIRECTORY
from ml.datasets.garment_scenes import build_composer
from ml.errors import EvaluationError
from ml.evaluations.evaluation import EvaluationOptions, Report
from ml.scene_evaluation import EVALUATION_SCENES, evaluate_scenes


def evaluate_garments(options: EvaluationOptions) -> Report:
    """Evaluate on 1,000 held-out scenes, always the same, or on the first ``limit`` of them.

    Raises:
        MLError: The model or the data cannot be read, or the options ask for what this model cannot do.
    """
    if options.photo_like:
        raise EvaluationError("garments is evaluated on scenes over photographs already; leave --photo-like out.")
    composer = build_composer("test", options.data or DEFAULT_DIRECTORY)
    result = evaluate_scenes(read_bundle(options.model).build(), composer, options.limit or EVALUATION_SCENES)
    return Report(
        title=f"{result.scenes:,} held-out scenes",
        measured={"items": result.scenes, **asdict(result)},
        columns=("label", "intersection over union"),
        rows=[(label, f"{iou:.3f}") for label, iou in result.by_label.items()],
        total=("mean (garments alone)", f"{result.mean_iou:.3f} ({result.garment_iou:.3f})"),
    )
