"""Kind ``regression``: a number that an item has, such as its price, with an interval that says how sure it is.

Shapes: B batch, C channels, H height, W width, D length of a vector, Q the three outputs of the network.
"""

import dataclasses
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from ml.conformal import conformal_offset, pinball_loss
from ml.errors import InvalidInputError, InvalidSpecError, InvalidTargetError, ModelLoadError, NonFiniteOutputError
from ml.inputs import build_decoder
from ml.normalisation import Normalisation
from ml.predictor import Payload, Predictor, Result, describe_item
from ml.spec import ModelSpec
from ml.target import Target

OUTPUTS = 3
"""Median, and how far below and above it the interval ends, before ``softplus``: so the three never cross."""


class RegressionPredictor(Predictor):
    """Result: ``{"value": 2757.0, "low": 2410.0, "high": 3121.0, "unit": "USD", "interval": 0.8}``.

    ``value`` is the predicted median. The interval from ``low`` to ``high`` is meant to hold the share ``interval`` of
    all items; ``calibrated`` sees to it that it does.
    """

    def __init__(self, spec: ModelSpec, module: nn.Module, device: torch.device) -> None:
        if spec.labels:
            raise InvalidSpecError("labels", "must be left out: a regression answers with a number.")
        super().__init__(spec, module, device)
        self.target = Target.from_config(spec.kind_options)
        self._decoder = build_decoder(spec.input)
        self._normalise = Normalisation(spec.input, device)

    @classmethod
    def count_outputs(cls, spec: ModelSpec) -> int:  # noqa: ARG003 - the same for every regression.
        """Three, whatever the specification."""
        return OUTPUTS

    def decode(self, payload: Payload) -> Tensor:
        """``[C, H, W]`` uint8 or ``[D]`` float32; see ``Predictor.decode``."""
        return self._decoder.decode(payload)

    def decode_batch(self, payloads: Sequence[Payload]) -> list[Tensor | InvalidInputError]:
        """See ``Predictor.decode_batch``."""
        return self._decoder.decode_batch(payloads)

    def forward(self, batch: Tensor) -> Tensor:
        """``[B, C, H, W]`` or ``[B, D]`` -> ``[B, Q]``, see ``OUTPUTS``, in units of the target's ``std``."""
        outputs_bq: Tensor = self.module(self._normalise(batch))
        return outputs_bq

    def check_outputs(self, outputs: Tensor) -> None:
        """See ``Predictor.check_outputs``: the three of ``OUTPUTS``."""
        if outputs.dim() != 2 or outputs.shape[1] != OUTPUTS:
            raise ModelLoadError(
                f"The network has {describe_item(outputs)} outputs an item; a regression needs {OUTPUTS}: "
                "the median, and how far below and above it the interval ends."
            )

    def encode_batch(self, outputs: Tensor) -> list[Result | NonFiniteOutputError]:
        """``[B, Q]`` -> results; see the class for their form."""
        quantiles = self.quantiles(outputs)
        # Infinity also comes out of a finite output that is beyond all numbers after the exponential.
        finite = outputs.isfinite().all(dim=1).cpu() & quantiles.isfinite().all(dim=1)
        rows = zip(finite.tolist(), quantiles.tolist(), strict=True)
        return [self._encode_row(*row) for row in rows]

    def quantiles(self, outputs: Tensor) -> Tensor:
        """``[B, Q]`` -> low, median and high in the target's unit, ``[B, 3]`` float64 on the CPU, in rising order."""
        # One copy to the CPU; three numbers an item are too few for any device.
        low, median, high = _ends(outputs.cpu().double())
        offset = self.target.offset
        # A negative offset must not carry an end across the median.
        ends = torch.minimum(low - offset, median), median, torch.maximum(high + offset, median)
        return self.target.from_network(torch.stack(ends, dim=1))

    def _encode_row(self, finite: bool, quantiles: list[float]) -> Result | NonFiniteOutputError:
        if not finite:
            return NonFiniteOutputError("The network's output holds NaN or infinity.")
        low, value, high = (round(number, self.target.decimals) for number in quantiles)
        return {"value": value, "low": low, "high": high, "unit": self.target.unit, "interval": self.target.interval}

    def encode_target(self, label: object) -> float:
        """A number in the target's unit; see ``Predictor.encode_target``."""
        if isinstance(label, bool) or not isinstance(label, int | float) or not math.isfinite(label):
            raise InvalidTargetError(f"{label!r} is no finite number.")
        if self.target.transform == "log" and label <= 0:
            raise InvalidTargetError(f"{label!r} is not above 0.")
        return float(label)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Mean pinball loss of the three quantiles against values ``[B]`` in their unit, on the outputs' device."""
        wanted = self.target.to_network(targets.float())
        tail = (1 - self.target.interval) / 2
        pairs = zip(_ends(outputs.float()), (tail, 0.5, 1 - tail), strict=True)
        return torch.stack([pinball_loss(predicted, wanted, quantile) for predicted, quantile in pairs]).mean()

    def metric(self, outputs: Tensor, targets: Tensor) -> float:
        """R², at most 1: the share of the variance of values ``[B]`` (in their unit) that the medians explain."""
        values = targets.cpu().double()
        unexplained = float((values - self.quantiles(outputs)[:, 1]).square().sum())
        total = float((values - values.mean()).square().sum())
        if total == 0:
            return float(unexplained == 0)
        return 1 - unexplained / total

    def calibrated(self, outputs: Tensor, targets: Tensor) -> "RegressionPredictor":
        """The same network with the offset, in ``spec.kind_options``, that makes its intervals hold what they state.

        Args:
            outputs: ``[B, Q]`` for items that the training did not see.
            targets: ``[B]``, their values in the target's unit.

        Raises:
            TrainingError: There are too few.
        """
        low, _, high = _ends(outputs.cpu().double())
        wanted = self.target.to_network(targets.cpu().double())
        offset = conformal_offset(low, high, wanted, self.target.interval)
        spec = dataclasses.replace(self.spec, kind_options={**self.spec.kind_options, "offset": offset})
        return RegressionPredictor(spec, self.module, self.device)


def _ends(outputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Low, median and high of ``[B, Q]``, each ``[B]``, as the network itself gives them, in units of ``std``."""
    median, below, above = outputs.unbind(dim=1)
    return median - functional.softplus(below), median, median + functional.softplus(above)
