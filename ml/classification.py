"""Kind ``classification``: which one of a fixed list of labels an item has.

Shapes: B batch, K labels, C channels, H height, W width, D length of a vector.
"""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from ml.errors import InvalidInputError, InvalidSpecError, InvalidTargetError, ModelLoadError, NonFiniteOutputError
from ml.inputs import build_decoder
from ml.normalisation import Normalisation
from ml.predictor import Deviation, Payload, Predictor, Result, Tolerance, describe_item
from ml.spec import ModelSpec

MAX_TOP = 5
"""Labels listed in a result, best first."""

SCORE_DECIMALS = 6

LABEL_SMOOTHING = 0.05
"""Share of the target spread over all labels (Szegedy et al. 2015, arXiv:1512.00567): keeps scores from saturating."""


class ClassificationPredictor(Predictor):
    """Result: ``{"label": "Sandal", "score": 0.98, "top": [["Sandal", 0.98], ["Sneaker", 0.01], ...]}``.

    Scores are softmax probabilities, and add up to 1 over all labels. A network with one output and two labels answers
    with the log-odds of the second.
    """

    decodes_plain_images = True
    tolerance: ClassVar[Tolerance] = Tolerance(min_agreement=0.99, max_error=0.02)

    def __init__(self, spec: ModelSpec, module: nn.Module, device: torch.device) -> None:
        if len(spec.labels) < 2:
            raise InvalidSpecError("labels", "must list two labels or more.")
        super().__init__(spec, module, device)
        self._decoder = build_decoder(spec.input)
        self._normalise = Normalisation(spec.input, device)

    def decode(self, payload: Payload) -> Tensor:
        """``[C, H, W]`` uint8 or ``[D]`` float32; see ``Predictor.decode``."""
        return self._decoder.decode(payload)

    def decode_batch(self, payloads: Sequence[Payload]) -> list[Tensor | InvalidInputError]:
        """See ``Predictor.decode_batch``."""
        return self._decoder.decode_batch(payloads)

    def forward(self, batch: Tensor) -> Tensor:
        """``[B, C, H, W]`` or ``[B, D]`` -> logits ``[B, K]``, or ``[B, 1]`` for two labels."""
        logits: Tensor = self.module(self._normalise(batch))
        return logits

    def encode_batch(self, outputs: Tensor) -> list[Result | NonFiniteOutputError]:
        """Logits ``[B, K]`` or ``[B, 1]`` -> results; see the class for their form."""
        outputs = outputs.float()
        # For the whole batch at once and with one copy to the CPU: an operation costs more than the numbers in it.
        scores_bk, order_bk = _probabilities(outputs).topk(min(MAX_TOP, len(self.spec.labels)), dim=1)
        finite = outputs.isfinite().all(dim=1).tolist()
        rows = zip(finite, scores_bk.tolist(), order_bk.tolist(), strict=True)
        return [self._encode_row(*row) for row in rows]

    def check_outputs(self, outputs: Tensor) -> None:
        """See ``Predictor.check_outputs``: one output a label, or a single one for two labels."""
        n_labels = len(self.spec.labels)
        if outputs.dim() != 2 or outputs.shape[1] not in ((1, 2) if n_labels == 2 else (n_labels,)):
            found = describe_item(outputs)
            raise ModelLoadError(f"The network has {found} outputs an item, but {n_labels} labels are listed.")

    def _encode_row(self, finite: bool, scores: list[float], order: list[int]) -> Result | NonFiniteOutputError:
        if not finite:
            return NonFiniteOutputError("The network's output holds NaN or infinity.")
        labels = self.spec.labels
        top = [[labels[index], round(score, SCORE_DECIMALS)] for index, score in zip(order, scores, strict=True)]
        return {"label": top[0][0], "score": top[0][1], "top": top}

    def encode_target(self, label: object) -> int:
        """The index of a label; see ``Predictor.encode_target``."""
        if label not in self.spec.labels:
            raise InvalidTargetError(f"{label!r} is none of the labels.")
        return self.spec.labels.index(str(label))

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Mean cross-entropy of logits against class indices ``[B]`` int64, on the outputs' device."""
        return functional.cross_entropy(_two_logits(outputs.float()), targets, label_smoothing=LABEL_SMOOTHING)

    def metric(self, outputs: Tensor, targets: Tensor) -> float:
        """Accuracy, 0..1: the share of items whose strongest label is the target's."""
        return float((_two_logits(outputs).argmax(dim=1) == targets).float().mean())

    def deviation(self, reference: Tensor, candidate: Tensor) -> Deviation:
        """Share of items with the same first label, and the largest difference of any score; see ``Predictor``."""
        expected_bk, found_bk = _probabilities(reference), _probabilities(candidate)
        agreed = (expected_bk.argmax(dim=1) == found_bk.argmax(dim=1)).float().mean()
        return Deviation(agreement=float(agreed), max_error=float((expected_bk - found_bk).abs().max()))


def _two_logits(outputs: Tensor) -> Tensor:
    """``[B, 1]`` log-odds -> ``[B, 2]`` logits; anything wider stays as it is."""
    return torch.cat([torch.zeros_like(outputs), outputs], dim=1) if outputs.shape[1] == 1 else outputs


def _probabilities(outputs: Tensor) -> Tensor:
    return _two_logits(outputs).softmax(dim=1)
