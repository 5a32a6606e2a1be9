"""How right an answer is, as one number an item: what two versions are compared by.

More is better, whatever the kind. For a classification 1 or 0; for a regression minus the absolute error, in the
target's unit.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ml.errors import EvaluationError, InvalidInputError, NonFiniteOutputError
from ml.predictor import Payload, Predictor, Result

BATCH = 64
"""Items in one forward; most where the model's own limit is not less."""

Scores = list[float | None]
"""By item; None where the version gave no answer."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """One item and what is true of it.

    Args:
        payload: As it was sent.
        label: One of the labels for a classification, a number for a regression.
    """

    payload: Payload
    label: Any


def score_items(predictor: Predictor, items: Sequence[Item]) -> Scores:
    """Send items the way of a request and score the answers.

    Raises:
        EvaluationError: Answers of this kind are not right or wrong by a label.
    """
    scores: Scores = []
    step = min(BATCH, predictor.spec.max_batch)
    for start in range(0, len(items), step):
        chosen = items[start : start + step]
        answers = answer_items(predictor, [item.payload for item in chosen])
        scores += [
            None if answer is None else score(predictor.spec.kind, answer, item.label)
            for answer, item in zip(answers, chosen, strict=True)
        ]
    return scores


def score(kind: str, answer: Mapping[str, Any], label: Any) -> float:
    """Score one answer.

    Raises:
        EvaluationError: Answers of this kind are not right or wrong by a label.
    """
    if kind == "classification":
        return float(answer["label"] == label)
    if kind == "regression":
        return -abs(float(answer["value"]) - float(label))
    raise EvaluationError(f"answers of kind {kind!r} cannot be scored by a label")


def answer_items(predictor: Predictor, payloads: Sequence[Payload]) -> list[Result | None]:
    """Answers in order; None for an item that was refused, or whose outputs are not finite."""
    decoded = predictor.decode_batch(payloads)
    usable = [index for index, item in enumerate(decoded) if not isinstance(item, InvalidInputError)]
    answers: list[Result | None] = [None] * len(payloads)
    if not usable:
        return answers
    with torch.inference_mode():
        outputs = predictor.forward(torch.stack([item for item in decoded if isinstance(item, Tensor)]))
    for index, result in zip(usable, predictor.encode_batch(outputs), strict=True):
        if not isinstance(result, NonFiniteOutputError):
            answers[index] = result
    return answers
