"""Examples that do not come from a recipe's own data: answers that were corrected, or tensors that somebody posted.

Shapes: N examples; ``...`` one item's own shape.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ml.errors import InvalidInputError, InvalidTargetError, MLError, NoDataError
from ml.predictor import Payload, Predictor

DECODE_THREADS = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Decoded:
    """Examples as a training takes them.

    Args:
        items: ``[N, ...]`` as the predictor decodes them.
        targets: ``[N]`` as its loss takes them.
        weights: ``[N]`` float, how often each comes in an epoch.
    """

    items: Tensor
    targets: Tensor
    weights: Tensor


class Examples(ABC):
    """Where examples come from."""

    @abstractmethod
    def decode(self, predictor: Predictor) -> Decoded:
        """Turn all of them into tensors on the CPU.

        Raises:
            MLError: They do not fit the predictor.
        """


@dataclass(frozen=True, kw_only=True, slots=True)
class Correction:
    """One answer that was corrected.

    Args:
        read: Gives the input as it was sent.
        label: The right answer, in the form of the kind.
        weight: How often it comes in an epoch.
    """

    read: Callable[[], Payload]
    label: Any
    weight: float = 1.0


class CorrectedExamples(Examples):
    """Inputs as they were sent, with the labels that feedback gave them.

    Args:
        corrections: In an order that is always the same.
        on_skipped: Told how many cannot be used, and why the first of them cannot.
    """

    def __init__(self, corrections: Sequence[Correction], on_skipped: Callable[[int, str], None]) -> None:
        self._corrections = corrections
        self._on_skipped = on_skipped

    def decode(self, predictor: Predictor) -> Decoded:
        """See ``Examples``; one that cannot be decoded, or whose label the network does not know, is left out."""
        with ThreadPoolExecutor(DECODE_THREADS, thread_name_prefix="decode") as pool:
            found = list(pool.map(lambda each: _decode(predictor, each), self._corrections))
        skipped = [each for each in found if isinstance(each, MLError)]
        if skipped:
            self._on_skipped(len(skipped), str(skipped[0]))
        kept = [
            (each, correction.weight)
            for each, correction in zip(found, self._corrections, strict=True)
            if not isinstance(each, MLError)
        ]
        if not kept:
            return Decoded(items=torch.empty(0), targets=torch.empty(0), weights=torch.empty(0))
        return Decoded(
            items=torch.stack([item for (item, _), _ in kept]),
            targets=torch.tensor([target for (_, target), _ in kept]),
            weights=torch.tensor([weight for _, weight in kept], dtype=torch.float32),
        )


class PostedExamples(Examples):
    """Tensors that somebody posted, in the predictor's own form.

    Args:
        inputs: ``[N, ...]`` float32.
        targets: ``[N]`` int64 or float32.
    """

    def __init__(self, inputs: Tensor, targets: Tensor) -> None:
        self._inputs, self._targets = inputs, targets

    def decode(self, predictor: Predictor) -> Decoded:
        """See ``Examples``."""
        if self._inputs.shape[1:] != (predictor.spec.input.size,):
            raise InvalidInputError("inputs", f"must be rows of {predictor.spec.input.size} numbers.")
        return Decoded(items=self._inputs, targets=self._targets, weights=torch.ones(len(self._targets)))


def check_examples(decoded: Decoded, least: int, *, classes: bool) -> None:
    """Check that there is something to learn.

    Args:
        decoded: All that there is.
        least: Examples.
        classes: Whether two classes are needed.

    Raises:
        NoDataError: There are too few, or one class alone.
    """
    if len(decoded.targets) < least:
        raise NoDataError(
            f"There are {len(decoded.targets)} usable example(s) to learn from; it takes {least} or more."
        )
    if classes and len(set(decoded.targets.tolist())) < 2:
        raise NoDataError("All examples have the same label: there is nothing to tell apart.")


def _decode(predictor: Predictor, correction: Correction) -> tuple[Tensor, float] | MLError:
    try:
        return predictor.decode(correction.read()), predictor.encode_target(correction.label)
    except (InvalidInputError, InvalidTargetError) as error:
        return error
