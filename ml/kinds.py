"""The kinds of model; a new kind is one file and one line here."""

from pathlib import Path

import torch

from ml.architectures.registry import build_module
from ml.classification import ClassificationPredictor
from ml.errors import UnknownKindError, WeightsError
from ml.predictor import Predictor
from ml.segmentation import SegmentationPredictor
from ml.spec import ModelSpec
from ml.weights import load_weights

KINDS: dict[str, type[Predictor]] = {
    "classification": ClassificationPredictor,
    "segmentation": SegmentationPredictor,
}


def build_predictor(spec: ModelSpec, weights: bytes | Path, device: str | torch.device) -> Predictor:
    """Build the network, fill in its weights, and put it on ``device``, ready to answer.

    Args:
        spec: What the model is.
        weights: Safetensors, as bytes or as the path of a file.
        device: Anything that ``torch.device`` takes.

    Raises:
        UnknownKindError: No predictor has the kind's name.
        UnknownArchitectureError: No builder has the architecture's name.
        InvalidSpecError: The builder or the predictor refuses the specification.
        WeightsError: The weights cannot be read or do not fit.
    """
    predictor = build_untrained(spec, device)
    load_weights(predictor.module, _read(weights))
    predictor.module.eval()
    return predictor


def build_untrained(spec: ModelSpec, device: str | torch.device) -> Predictor:
    """The same with fresh random weights, to train.

    Raises:
        UnknownKindError: No predictor has the kind's name.
        UnknownArchitectureError: No builder has the architecture's name.
        InvalidSpecError: The builder or the predictor refuses the specification.
    """
    kind = KINDS.get(spec.kind)
    if kind is None:
        raise UnknownKindError(f"There is no kind {spec.kind!r}; known are: {', '.join(sorted(KINDS))}.")
    return kind(spec, build_module(spec), torch.device(device))


def _read(weights: bytes | Path) -> bytes:
    if isinstance(weights, bytes):
        return weights
    try:
        return weights.read_bytes()
    except OSError as error:
        raise WeightsError(f"The weights at {weights} cannot be read: {error.strerror}.") from error
