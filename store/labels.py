"""What the right answer to a prediction may be, by the kind of its model, and whether the answer given was right.

Needs no torch: a label is checked against what the version's configuration says of its answers.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from store.errors import InvalidLabelError

#: The part of a result that a label is compared with, as SQL over `p.result`; a kind that is not here has a `label`.
ANSWER_SQL: Mapping[str, str] = {
    "regression": "p.result -> 'value'",
    "similarity": "p.result -> 'items' -> 0",
    "segmentation": "p.result -> 'classes'",
}
DEFAULT_ANSWER_SQL = "p.result -> 'label'"

#: A number further from the mean of the training targets than so many of their standard deviations, in the scale that
#: the network works in, is taken for a mistake: another unit, or a slipped point.
FARTHEST_STDS = 10.0

#: Labels that a message lists; the others are at the version's own page.
LABELS_SHOWN = 10


@dataclass(frozen=True, slots=True)
class Judgement:
    """A label in the form in which it is stored, and what it says of the answer.

    Attributes:
        label: For a classification one of its labels, for a regression a number, for a similarity the right
            item as `catalog/external_id` or whether the nearest is relevant, for a segmentation the labels that are in
            the picture.
        is_correct: Whether the answer was right; None where that is a matter of degree.
        error: How far a number was off, without its sign; None for other kinds.
    """

    label: Any
    is_correct: bool | None
    error: float | None = None


Judge = Callable[[Mapping[str, Any], Any, Any], Judgement]


def judge(kind: str, config: Mapping[str, Any], label: Any, answer: Any) -> Judgement:
    """Check a label and compare it with an answer.

    Args:
        kind: Of the model.
        config: Of the version that answered.
        label: As the caller sent it.
        answer: The part of the result that `ANSWER_SQL` names.

    Raises:
        InvalidLabelError: The version could never have answered with it.
    """
    return JUDGES.get(kind, judge_class)(config, label, answer)


def judge_class(config: Mapping[str, Any], label: Any, answer: Any) -> Judgement:
    """Judge a classification, or a kind of the user's own whose results have a `label`; see `judge`."""
    labels = config.get("labels") or ()
    if not labels:
        raise InvalidLabelError("models of this kind take no feedback: their configuration lists no labels")
    _check_listed(label, labels)
    return Judgement(label, answer == label)


def judge_number(config: Mapping[str, Any], label: Any, answer: Any) -> Judgement:
    """Judge a regression; see `judge`."""
    if isinstance(label, bool) or not isinstance(label, int | float) or not _is_finite(label):
        raise InvalidLabelError(f"must be a finite number, not {_shown(label)}")
    value = float(label)
    _check_scale(config.get("kind_options") or {}, value)
    return Judgement(value, None, abs(value - float(answer)))


def judge_neighbour(_config: Mapping[str, Any], label: Any, answer: Any) -> Judgement:
    """Judge a similarity by the item that it named first; see `judge`."""
    if isinstance(label, bool):
        return Judgement(label, label)
    nearest = answer or {}
    return Judgement(label, split_item(label) == (nearest.get("catalog"), nearest.get("external_id")))


def judge_classes(config: Mapping[str, Any], label: Any, answer: Any) -> Judgement:
    """Judge a segmentation by which labels it found, wherever they lie; see `judge`."""
    if not isinstance(label, list):
        raise InvalidLabelError("must be a list of the labels that are in the picture; [] where there is none")
    # The first is the background, which no result lists.
    for each in label:
        _check_listed(each, config["labels"][1:])
    found = {each["label"] for each in answer or ()}
    return Judgement(sorted(set(label)), found == set(label))


#: By kind; a kind of the user's own is judged as a classification is.
JUDGES: Mapping[str, Judge] = {
    "classification": judge_class,
    "regression": judge_number,
    "similarity": judge_neighbour,
    "segmentation": judge_classes,
}


def split_item(label: Any) -> tuple[str, str]:
    """Take the label of a similarity apart: catalog and external id, neither of which holds a slash.

    Raises:
        InvalidLabelError: It names no item.
    """
    parts = label.split("/") if isinstance(label, str) and "\0" not in label else []
    if len(parts) != 2 or not all(parts):
        raise InvalidLabelError(
            "must name the right item as `catalog/external_id`, or say whether the nearest is relevant, "
            f"not {_shown(label)}"
        )
    return parts[0], parts[1]


def read_cell(kind: str, config: Mapping[str, Any], cell: str) -> Any:
    """Read the label of a CSV file, where everything is text.

    Raises:
        InvalidLabelError: It is no number where the kind takes one.
    """
    if kind == "regression":
        try:
            return float(cell)
        except ValueError as error:
            raise InvalidLabelError(f"must be a finite number, not {_shown(cell)}") from error
    if kind == "segmentation":
        return [] if not cell else _split_labels(cell, config["labels"])
    return cell


def _split_labels(cell: str, labels: Sequence[str]) -> list[str]:
    # A label may hold the sign that separates them.
    return [cell] if cell in labels else [part.strip() for part in cell.split("|")]


def _check_listed(label: Any, labels: Sequence[str]) -> None:
    if not isinstance(label, str) or label not in labels:
        shown = ", ".join(labels[:LABELS_SHOWN]) + (", …" if len(labels) > LABELS_SHOWN else "")
        raise InvalidLabelError(f"must be one of the version's labels, not {_shown(label)}: {shown}")


def _check_scale(options: Mapping[str, Any], value: float) -> None:
    is_log = options.get("transform") == "log"
    if is_log and value <= 0:
        raise InvalidLabelError("must be above 0: the version works with its logarithm")
    if "mean" not in options or "std" not in options:
        return
    scaled = math.log(value) if is_log else value
    least, most = (options["mean"] + sign * FARTHEST_STDS * options["std"] for sign in (-1, 1))
    if not least <= scaled <= most:
        ends = (math.exp(least), math.exp(most)) if is_log else (least, most)
        unit = options.get("unit") or ""
        raise InvalidLabelError(
            f"is far from all that the version was trained on: {ends[0]:.4g} to {ends[1]:.4g} {unit}".rstrip()
        )


def _is_finite(number: float) -> bool:
    try:
        return math.isfinite(number)
    # A whole number that no float can hold.
    except OverflowError:
        return False


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
