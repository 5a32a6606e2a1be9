"""What an evaluation is: one trained model of ours on data that it was not trained on, from its folder to a report."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True)
class EvaluationOptions:
    """What may be changed from outside; None leaves the evaluation's own choice.

    Args:
        model: Folder with ``model.json`` and ``weights.safetensors``.
        data: Folder of the data set.
        limit: Most items.
        photo_like: Turn pictures into photos on white first; refused by models that take none.
    """

    model: Path
    data: Path | None = None
    limit: int | None = None
    photo_like: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What was measured.

    Args:
        title: A few words, for people.
        measured: The same for programs, as JSON has it; ``items`` says how many were looked at.
        columns: Heads of the table.
        rows: Its cells, by row.
        total: Its last row: all items together.
    """

    title: str
    measured: dict[str, Any]
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    total: Sequence[str]


EvaluateModel = Callable[[EvaluationOptions], Report]
"""Raises an ``MLError`` when the model or the data cannot be read."""
