"""What an answer says, in one word or number, and how right that is: how two versions' answers are compared."""

from collections.abc import Mapping
from typing import Any

#: Two numbers that are closer, as a share of the second, count as one answer.
SAME_SHARE = 0.05


def answer_of(kind: str, result: Mapping[str, Any]) -> str | float:
    """The part of a result that feedback is about: the label of a classification, the value of a regression."""
    answer: str | float = result["label"] if kind == "classification" else float(result["value"])
    return answer


def score_of(kind: str, answer: str | float, label: Any) -> float:
    """How right an answer is, more is better: 1 or 0 for a classification, minus the error for a regression."""
    if kind == "classification":
        return float(answer == label)
    return -abs(float(answer) - float(label))


def differ(kind: str, candidate: str | float, baseline: str | float) -> bool:
    """Whether two answers disagree."""
    if kind == "classification":
        return candidate != baseline
    return abs(float(candidate) - float(baseline)) > SAME_SHARE * abs(float(baseline))
