"""Kind ``similarity``: where an item lies in a space in which alike items are near each other.

The network answers with a place; which stored items are near it is looked up beside the database
(``tasks/neighbours.py``).

Shapes: B batch, E length of an embedding, C channels, H height, W width, D length of a vector.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from ml.errors import InvalidInputError, ModelLoadError, NonFiniteOutputError
from ml.inputs import build_decoder
from ml.predictor import Payload, Predictor, Result, describe_item
from ml.spec import ModelSpec

TEMPERATURE = 0.1
"""Divides the cosines in the loss (Khosla et al. 2020): the smaller, the more only the nearest wrong items count."""

MAX_PIXEL = 255.0


class SimilarityPredictor(Predictor):
    """Result: ``{"embedding": [0.12, -0.03, ...]}``, E numbers of Euclidean length 1.

    On the unit sphere the squared Euclidean distance is 2 - 2 cos, so both order neighbours alike; it runs from 0 to 2.
    """

    def __init__(self, spec: ModelSpec, module: nn.Module, device: torch.device) -> None:
        super().__init__(spec, module, device)
        self._decoder = build_decoder(spec.input)
        # Folded with the scaling to 0..1, so that normalising a batch is one subtraction and one division.
        self._mean = torch.tensor(spec.input.mean, device=device).view(-1, 1, 1) * MAX_PIXEL
        self._std = torch.tensor(spec.input.std, device=device).view(-1, 1, 1) * MAX_PIXEL

    def decode(self, payload: Payload) -> Tensor:
        """``[C, H, W]`` uint8 or ``[D]`` float32; see ``Predictor.decode``."""
        return self._decoder.decode(payload)

    def decode_batch(self, payloads: Sequence[Payload]) -> list[Tensor | InvalidInputError]:
        """See ``Predictor.decode_batch``."""
        return self._decoder.decode_batch(payloads)

    def forward(self, batch: Tensor) -> Tensor:
        """``[B, C, H, W]`` or ``[B, D]`` -> embeddings ``[B, E]`` float32 of length 1."""
        batch = batch.to(self.device, non_blocking=True)
        if self.spec.input.type == "image":
            batch = (batch.float() - self._mean) / self._std
        # In float32 whatever the network computes in: distances are compared by their last digits.
        return functional.normalize(self.module(batch).float(), dim=1)

    def check_outputs(self, outputs: Tensor) -> None:
        """See ``Predictor.check_outputs``: one vector an item."""
        if outputs.dim() != 2:
            found = describe_item(outputs)
            raise ModelLoadError(
                f"The network has {found} outputs an item; a similarity needs one vector, an embedding."
            )

    def encode_batch(self, outputs: Tensor) -> list[Result | NonFiniteOutputError]:
        """Embeddings ``[B, E]`` -> results; see the class for their form."""
        outputs = outputs.float()
        finite = outputs.isfinite().all(dim=1).tolist()
        return [
            {"embedding": numbers} if is_finite else NonFiniteOutputError("The network's output holds NaN or infinity.")
            for is_finite, numbers in zip(finite, outputs.tolist(), strict=True)
        ]

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Supervised contrastive loss (Khosla et al. 2020, arXiv:2004.11362, equation 2).

        Of each item: the mean, over the others with its label, of the cross-entropy of picking that one of all others.

        Args:
            outputs: Embeddings ``[B, E]`` of length 1.
            targets: ``[B]`` int64, equal for items that shall be near each other. On the outputs' device.
        """
        outputs = outputs.float()
        itself_bb = torch.eye(len(outputs), dtype=torch.bool, device=outputs.device)
        cosines_bb = (outputs @ outputs.T / TEMPERATURE).masked_fill(itself_bb, -torch.inf)
        log_shares_bb = cosines_bb.log_softmax(dim=1)
        alike_bb = (targets.unsqueeze(0) == targets.unsqueeze(1)) & ~itself_bb
        counts_b = alike_bb.sum(dim=1)
        # `where` rather than a product: the diagonal is minus infinity.
        sums_b = torch.where(alike_bb, log_shares_bb, 0.0).sum(dim=1)
        # An item without a partner in its batch says nothing.
        has_partner_b = counts_b > 0
        return -(sums_b[has_partner_b] / counts_b[has_partner_b]).sum() / has_partner_b.sum().clamp(min=1)

    def metric(self, outputs: Tensor, targets: Tensor) -> float:
        """Precision at 1 within the batch, 0..1: the share of items whose nearest other item has their label."""
        if len(outputs) < 2:
            return 0.0
        distances_bb = torch.cdist(outputs.float(), outputs.float()).fill_diagonal_(torch.inf)
        return float((targets[distances_bb.argmin(dim=1)] == targets).float().mean())
