"""Kind ``segmentation``: which of a fixed list of labels each pixel of a picture has; the first is the background.

Shapes: B batch, K labels, C channels, S side of the square that the network sees, H and W height and width within it.

The size of the picture travels with it, as a result is told in its pixels: what ``decode`` returns and ``forward``
takes has one row more than the square. The row's first bytes are the width and the height, three each with the highest
first, which even bfloat16 carries exactly; ``forward`` hands them on in the same place. A batch without that row is of
squares.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from ml.components import Component, erase, find_components
from ml.errors import InvalidInputError, InvalidSpecError, ModelLoadError, NonFiniteOutputError
from ml.letterbox import find_frame, prepare_letterbox
from ml.palette import colour_of, encode_mask
from ml.picture_source import read_picture
from ml.predictor import Deviation, Payload, Predictor, Result, Tolerance, describe_item
from ml.spec import ModelSpec

FIELD = "input"
"""The name that the request gives to what we decode."""

PREPARATION = "letterbox"
"""The only one that keeps the whole picture, so that a mask can be laid over it again."""

MIN_PART = 0.002
"""Connected parts smaller than this share of the picture are taken for background: specks, not garments."""

SHARE_DECIMALS = 4

MAX_PIXEL = 255.0

SIDE_BYTES = 3
"""For each side of the picture: a strip within ``ml.images.MAX_PIXELS`` can be 3 million pixels long."""

MAX_LABELS = 256
"""Indices that one byte of a mask can hold."""

DICE_WEIGHT = 1.0
"""Of the Dice loss beside the cross-entropy: thin shoes weigh as much as large coats."""


class SegmentationPredictor(Predictor):
    """Result, largest class first; the background is listed nowhere.

    ``{"classes": [{"label": "Sandal", "score": 0.97, "area": 0.083, "boxes": [[12, 40, 180, 122]]}, ...],
    "picture": {"width": 640, "height": 427}, "mask": {"file": File, "width": 96, "height": 64,
    "legend": [{"index": 4, "label": "Sandal", "colour": "#0082c8"}, ...]}}``

    ``area`` is a share of the picture. Each box frames one connected part, the largest first: left, top, right, bottom
    in pixels of the upright picture as it was sent, the last two the first outside. ``score`` is the mean probability
    over the pixels of the class. The mask has the shape of the picture and at most S pixels on its longer side; each
    of its pixels is an index into the model's labels.
    """

    tolerance: ClassVar[Tolerance] = Tolerance(min_agreement=0.99, max_error=0.02)

    def __init__(self, spec: ModelSpec, module: nn.Module, device: torch.device) -> None:
        if not 2 <= len(spec.labels) <= MAX_LABELS:
            raise InvalidSpecError("labels", f"must list 2 to {MAX_LABELS} labels, the background first.")
        if spec.input.type != "image" or spec.input.preparation != PREPARATION:
            raise InvalidSpecError("input.preparation", f"must be '{PREPARATION}', of an image, for a segmentation.")
        super().__init__(spec, module, device)
        # Folded with the scaling to 0..1, so that normalising a batch is one subtraction and one division.
        self._mean = torch.tensor(spec.input.mean, device=device).view(-1, 1, 1) * MAX_PIXEL
        self._std = torch.tensor(spec.input.std, device=device).view(-1, 1, 1) * MAX_PIXEL

    def decode(self, payload: Payload) -> Tensor:
        """``[C, S + 1, S]`` uint8: the square, and the row that tells the picture's size; see ``Predictor.decode``."""
        if not isinstance(payload, bytes | bytearray | memoryview):
            raise InvalidInputError(FIELD, "This model takes an image file, not numbers.")
        size = self.spec.input.size
        picture = read_picture(bytes(payload), target_px=size)
        square = prepare_letterbox(picture.pixels_hwc, size, self.spec.input.channels)
        return torch.cat([square, _size_row((picture.width, picture.height), square)], dim=1)

    def decode_batch(self, payloads: Sequence[Payload]) -> list[Tensor | InvalidInputError]:
        """See ``Predictor.decode_batch``."""
        return [self._decode_or_error(payload) for payload in payloads]

    def forward(self, batch: Tensor) -> Tensor:
        """``[B, C, S + 1, S]`` -> logits ``[B, K, S + 1, S]``, or both with S rows where no size is told."""
        batch = batch.to(self.device, non_blocking=True).float()
        side = batch.shape[3]
        logits: Tensor = self.module((batch[:, :, :side] - self._mean) / self._std)
        # The row of the size goes around the network, in the first channel's place.
        rest = batch[:, :1, side:].to(logits.dtype).expand(-1, logits.shape[1], -1, -1)
        return torch.cat([logits, rest], dim=2)

    def check_outputs(self, outputs: Tensor) -> None:
        """See ``Predictor.check_outputs``: a number for each label and pixel of the square."""
        side, n_labels = self.spec.input.size, len(self.spec.labels)
        wanted = (n_labels, side, side)
        if outputs.dim() != 4 or (*outputs.shape[1:2], *outputs[:, :, :side].shape[2:]) != wanted:
            raise ModelLoadError(
                f"The network has {describe_item(outputs)} outputs an item; {n_labels} labels in pictures of {side} "
                f"pixels need {n_labels} x {side} x {side}."
            )

    def encode_batch(self, outputs: Tensor) -> list[Result | NonFiniteOutputError]:
        """Logits ``[B, K, S + 1, S]`` -> results; see the class for their form."""
        outputs = outputs.detach().float()
        side = outputs.shape[3]
        scores, labels = outputs[:, :, :side].softmax(dim=1).max(dim=1)
        finite = outputs.isfinite().flatten(1).all(dim=1).tolist()
        sizes = outputs[:, 0, side:, : 2 * SIDE_BYTES].flatten(1).tolist()
        indices_bhw, scores_bhw = labels.to(torch.uint8).cpu().numpy(), scores.cpu().numpy()
        return [
            self._encode_item(indices_bhw[item], scores_bhw[item], _read_size(sizes[item], side))
            if finite[item]
            else NonFiniteOutputError("The network's output holds NaN or infinity.")
            for item in range(len(outputs))
        ]

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Mean cross-entropy plus Dice loss (Milletari et al. 2016, arXiv:1606.04797) over the labels in the batch.

        Args:
            outputs: Logits ``[B, K, S, S]``.
            targets: Label indices ``[B, S, S]`` int64, on the outputs' device.
        """
        outputs = outputs.float()
        wanted = functional.one_hot(targets, outputs.shape[1]).permute(0, 3, 1, 2).to(outputs.dtype)
        probabilities = outputs.softmax(dim=1)
        shared = (probabilities * wanted).sum(dim=(0, 2, 3))
        sizes = probabilities.sum(dim=(0, 2, 3)) + wanted.sum(dim=(0, 2, 3))
        present = wanted.amax(dim=(0, 2, 3)) > 0
        dice = 1 - (2 * shared / sizes.clamp(min=1))[present].mean()
        return functional.cross_entropy(outputs, targets) + DICE_WEIGHT * dice

    def metric(self, outputs: Tensor, targets: Tensor) -> float:
        """Mean intersection over union, 0..1, of the labels but the background; see ``mean_iou``.

        Of a quarter of the pixels, evenly spread: training shows it after every step, and it must cost little.
        """
        predicted = outputs[..., ::2, ::2].argmax(dim=1)
        return mean_iou(count_confusion(predicted, targets[:, ::2, ::2], outputs.shape[1]))

    def deviation(self, reference: Tensor, candidate: Tensor) -> Deviation:
        """Share of the pixels with the same label, and the largest mean difference of an item's probabilities.

        The row that tells the size is no answer; see ``Predictor.deviation``.
        """
        side = reference.shape[3]
        expected, found = (outputs[:, :, :side].float().softmax(dim=1) for outputs in (reference, candidate))
        agreed = (expected.argmax(dim=1) == found.argmax(dim=1)).float().mean()
        # Over the pixels that the two tell apart least well a mean says more than the worst of a hundred thousand.
        errors = (expected - found).abs().amax(dim=1).flatten(1).mean(dim=1)
        return Deviation(agreement=float(agreed), max_error=float(errors.max()))

    def _decode_or_error(self, payload: Payload) -> Tensor | InvalidInputError:
        try:
            return self.decode(payload)
        except InvalidInputError as error:
            return error

    def _encode_item(
        self, indices_ss: npt.NDArray[np.uint8], scores_ss: npt.NDArray[np.float32], size: tuple[int, int]
    ) -> Result:
        """One item's labels and scores, both ``[S, S]``, and the width and height of its picture -> its result."""
        frame = find_frame(*size, len(indices_ss))
        rows, columns = slice(frame.top, frame.top + frame.height), slice(frame.left, frame.left + frame.width)
        mask_hw, scores_hw = indices_ss[rows, columns].copy(), scores_ss[rows, columns]
        parts: dict[int, list[Component]] = {}
        for part in find_components(mask_hw):
            if part.area_px >= MIN_PART * mask_hw.size:
                parts.setdefault(part.label, []).append(part)
            else:
                erase(mask_hw, part)
        classes = [self._describe(index, found, mask_hw, scores_hw, size) for index, found in parts.items()]
        return {
            "classes": sorted(classes, key=lambda entry: -entry["area"]),
            "picture": {"width": size[0], "height": size[1]},
            "mask": {
                "file": encode_mask(mask_hw, len(self.spec.labels)),
                "width": frame.width,
                "height": frame.height,
                "legend": [_legend(index, self.spec.labels[index]) for index in sorted(parts)],
            },
        }

    def _describe(
        self,
        index: int,
        parts: list[Component],
        mask_hw: npt.NDArray[np.uint8],
        scores_hw: npt.NDArray[np.float32],
        size: tuple[int, int],
    ) -> dict[str, Any]:
        area_px = sum(part.area_px for part in parts)
        return {
            "label": self.spec.labels[index],
            "score": round(float(scores_hw[mask_hw == index].mean()), SHARE_DECIMALS),
            "area": round(area_px / mask_hw.size, SHARE_DECIMALS),
            "boxes": [_scale_box(part.box, mask_hw.shape, size) for part in parts],
        }


def count_confusion(predicted: Tensor, targets: Tensor, n_labels: int) -> Tensor:
    """How many pixels of each label got which: ``[K, K]`` int64, targets in rows.

    Args:
        predicted: Label indices of any shape, int64.
        targets: The same shape.
        n_labels: K.
    """
    pairs = targets.flatten() * n_labels + predicted.flatten()
    return torch.bincount(pairs, minlength=n_labels**2).view(n_labels, n_labels)


def iou_by_label(confusion: Tensor) -> Tensor:
    """Intersection over union of every label, ``[K]`` float64; NaN for one that is neither there nor predicted."""
    shared = confusion.diagonal().double()
    return shared / (confusion.sum(dim=0) + confusion.sum(dim=1) - shared)


def mean_iou(confusion: Tensor, *, background: bool = False) -> float:
    """Mean intersection over union, 0..1, without labels that are neither there nor predicted.

    Args:
        confusion: ``[K, K]`` int64, as of ``count_confusion``.
        background: Whether the first label counts as any other, as in the mean of PASCAL VOC (Everingham et al. 2015).
    """
    return float(iou_by_label(confusion)[0 if background else 1 :].nanmean())


def _size_row(size: tuple[int, int], square: Tensor) -> Tensor:
    row = torch.zeros_like(square[:, :1])
    told = b"".join(side.to_bytes(SIDE_BYTES) for side in size)
    row[:, 0, : len(told)] = torch.tensor(list(told), dtype=torch.uint8)
    return row


def _read_size(told: Sequence[float], side: int) -> tuple[int, int]:
    """Width and height; without a told size the picture is the square itself."""
    if not any(told):
        return side, side
    numbers = bytes(int(byte) for byte in told)
    return int.from_bytes(numbers[:SIDE_BYTES]), int.from_bytes(numbers[SIDE_BYTES:])


def _scale_box(box: Sequence[int], shape: tuple[int, ...], size: tuple[int, int]) -> list[int]:
    """From pixels of the mask to pixels of the picture."""
    scale_x, scale_y = size[0] / shape[1], size[1] / shape[0]
    return [round(edge * scale) for edge, scale in zip(box, (scale_x, scale_y, scale_x, scale_y), strict=True)]


def _legend(index: int, label: str) -> dict[str, Any]:
    return {"index": index, "label": label, "colour": "#{:02x}{:02x}{:02x}".format(*colour_of(index))}
