"""``python -m ml.compare FOLDER``: two versions of a model on the same items, in a process of its own.

The folder holds ``task.json``, the weights of both versions and what their items were sent as; the result is written
beside it. So whoever asks needs no torch, and a version that takes the process down takes nothing else with it.
"""

import json
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import torch

from ml.errors import DatasetError, MLError
from ml.held_out import HELD_OUT
from ml.kinds import build_predictor
from ml.plugins import load_plugins
from ml.predictor import Payload, Predictor
from ml.scoring import Item, answer_items, score_items
from ml.spec import ModelSpec

TASK_NAME = "task.json"
RESULT_NAME = "result.json"

SIDES = ("candidate", "champion")

THREADS = 1
"""Inside one operation on a CPU."""

ROUNDS = 15
"""Turns that each version takes while its speed is measured; the first two warm up."""
WARM_UP_ROUNDS = 2
TIMED_ITEMS = 16
"""Items in one turn, answered one batch a turn."""


def compare(folder: Path) -> dict[str, Any]:
    """Score both versions on the fixed items and on those of the task, and time them in turn.

    ``task.json``: ``model``; ``plugins``; for each side ``number``, ``config`` and ``weights`` (a file); ``max_items``;
    and ``sets``, by name a list of items with a ``label`` and either an ``input`` or a ``file``.

    Returns:
        ``sets``, by name ``source``, ``groups`` and the scores of each side; ``latency_ms``, by side; or ``refused``,
        which side could not be used, and ``reason``.
    """
    task = json.loads((folder / TASK_NAME).read_text(encoding="utf-8"))
    predictors = {}
    for side in SIDES:
        try:
            predictors[side] = _build(task["model"], task[side], folder)
        except MLError as error:
            return {"refused": side, "reason": str(error)}
    given = {name: _read_items(rows, folder) for name, rows in task["sets"].items()}
    sets, sample = _score_held_out(task["model"], predictors, task["max_items"])
    sets |= {name: _score_given(predictors, items) for name, items in given.items()}
    payloads = [*sample, *(item.payload for items in given.values() for item in items)]
    return {"sets": sets, "latency_ms": _time_both(predictors, payloads[:TIMED_ITEMS])}


def _build(model: str, side: Mapping[str, Any], folder: Path) -> Predictor:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    spec = ModelSpec.from_config(model, side["number"], side["config"])
    return build_predictor(spec, folder / side["weights"], device)


def _read_items(rows: Sequence[Mapping[str, Any]], folder: Path) -> list[Item]:
    return [Item(payload=_payload(row, folder), label=row["label"]) for row in rows]


def _payload(row: Mapping[str, Any], folder: Path) -> Payload:
    if row.get("file") is not None:
        return Path(folder, row["file"]).read_bytes()
    given: Payload = row["input"]
    return given


def _score_held_out(
    model: str, predictors: Mapping[str, Predictor], limit: int
) -> tuple[dict[str, Any], Sequence[Payload]]:
    """The scores, and some of the items to time with."""
    held_out = HELD_OUT.get(model)
    if held_out is None:
        return {}, ()
    try:
        held = {side: held_out.score(predictor, limit) for side, predictor in predictors.items()}
    except DatasetError:
        # Its data is not on this machine: the feedback alone decides.
        return {}, ()
    scores = {side: found.scores for side, found in held.items()}
    champion = held["champion"]
    return {"held_out": {"source": held_out.source, "groups": champion.groups, **scores}}, champion.sample


def _score_given(predictors: Mapping[str, Predictor], items: Sequence[Item]) -> dict[str, Any]:
    groups = [item.label for item in items] if all(isinstance(item.label, str) for item in items) else None
    scores = {side: score_items(predictor, items) for side, predictor in predictors.items()}
    return {"source": "feedback", "groups": groups, **scores}


def _time_both(predictors: Mapping[str, Predictor], payloads: Sequence[Payload]) -> dict[str, float] | None:
    """Median milliseconds an item by side, decoding included; None without items.

    In turn, so that whatever else the machine does slows both alike.
    """
    if not payloads:
        return None
    spent: dict[str, list[float]] = {side: [] for side in predictors}
    for _ in range(ROUNDS):
        for side, predictor in predictors.items():
            began = time.perf_counter()
            answer_items(predictor, payloads)
            spent[side].append((time.perf_counter() - began) * 1000 / len(payloads))
    return {side: statistics.median(times[WARM_UP_ROUNDS:]) for side, times in spent.items()}


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
def main(folder: Path) -> None:
    """Compare the two versions that FOLDER holds and write the result there."""
    # As workers on a CPU compute, and because inference on the same machine has the right of way.
    torch.set_num_threads(THREADS)
    # What a plugin lacks, the version that needs it says when it is built.
    load_plugins(json.loads((folder / TASK_NAME).read_text(encoding="utf-8"))["plugins"])
    (folder / RESULT_NAME).write_text(json.dumps(compare(folder)), encoding="utf-8")


if __name__ == "__main__":
    main()
