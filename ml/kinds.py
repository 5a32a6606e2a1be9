"""The kinds of model; a new kind is one file and one line here."""

from pathlib import Path

import torch

from ml.architectures.registry import build_module
from ml.classification import ClassificationPredictor
from ml.errors import InvalidSpecError, UnknownKindError, WeightsError
from ml.predictor import Predictor
from ml.regression import RegressionPredictor
from ml.segmentation import SegmentationPredictor
from ml.similarity import SimilarityPredictor
from ml.spec import TORCH_EXPORT, ModelSpec
from ml.weights import load_weights

KINDS: dict[str, type[Predictor]] = {
    "classification": ClassificationPredictor,
    "regression": RegressionPredictor,
    "segmentation": SegmentationPredictor,
    "similarity": SimilarityPredictor,
}


def build_predictor(spec: ModelSpec, weights: bytes | Path, device: str | torch.device) -> Predictor:
    """Build the network, fill in its weights, and put it on ``device``, ready to answer.

    Args:
        spec: What the model is.
        weights: What ``spec.format`` says, as bytes or as the path of a file.
        device: Anything that ``torch.device`` takes.

    Raises:
        UnknownKindError: No predictor has the kind's name.
        UnknownArchitectureError: No builder has the architecture's name.
        InvalidSpecError: The builder or the predictor refuses the specification.
        WeightsError: The weights cannot be read or do not fit.
    """
    if spec.format == TORCH_EXPORT:
        # It imports much of PyTorch's compiler; a worker without such a model need not.
        from ml.archives.exported import load_exported

        predictor = find_kind(spec.kind)(spec, load_exported(_read(weights), device), torch.device(device))
    else:
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
    if spec.format == TORCH_EXPORT:
        raise InvalidSpecError("format", f"{TORCH_EXPORT!r} cannot be trained: the program is what it is.")
    kind = find_kind(spec.kind)
    return kind(spec, build_module(spec, kind.count_outputs(spec)), torch.device(device))


def find_kind(name: str) -> type[Predictor]:
    """Look a kind up.

    Raises:
        UnknownKindError: No predictor has the kind's name.
    """
    kind = KINDS.get(name)
    if kind is None:
        known = ", ".join(sorted(KINDS))
        raise UnknownKindError(f"There is no kind {name!r}; known are: {known}. TORCHQUEUE_PLUGINS loads your own.")
    return kind


def _read(weights: bytes | Path) -> bytes:
    if isinstance(weights, bytes):
        return weights
    try:
        return weights.read_bytes()
    except OSError as error:
        raise WeightsError(f"The weights at {weights} cannot be read: {error.strerror}.") from error
