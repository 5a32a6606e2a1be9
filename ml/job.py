"""``python -m ml.job FOLDER``: one training as a process of its own, told by files and telling by lines.

The folder holds ``job.json``, and where the job says so ``weights.safetensors`` to go on from, ``posted.safetensors``,
``examples.ndjson`` with the files in ``inputs/``, and ``checkpoint.pt``. What is made goes to ``out/``. Lines that
begin with ``EVENT_MARK`` are for the process that started this one; all others are the log.
"""

import json
import os
import select
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from ml.bundles import write_bundle
from ml.checkpoints import FolderCheckpoints
from ml.distributed import current_world, die_with_launcher, joined
from ml.errors import (
    DivergedError,
    InvalidInputError,
    InvalidSpecError,
    InvalidTargetError,
    MLError,
    NoDataError,
    TrainingError,
    WeightsError,
)
from ml.examples import CorrectedExamples, Correction, Examples, PostedExamples
from ml.plugins import load_plugins
from ml.recipes.by_kind import train_by_kind
from ml.recipes.recipe import RecipeOptions
from ml.recipes.registry import RECIPES
from ml.training import OnProgress, Progress

EVENT_MARK = "\x1e"
"""RFC 7464's record separator: no library prints it."""

JOB_NAME = "job.json"
WEIGHTS_NAME = "weights.safetensors"
POSTED_NAME = "posted.safetensors"
EXAMPLES_NAME = "examples.ndjson"
INPUTS_NAME = "inputs"
OUT_NAME = "out"

SAVED_POLL_S = 0.002
"""How often we look whether a checkpoint was taken away; a training waits no longer than its transport takes."""

EVENT_INTERVAL_S = 0.2
"""Steps in between are not told."""

Tell = Callable[[dict[str, Any]], None]


@dataclass(frozen=True, kw_only=True)
class Job:
    """What ``job.json`` says.

    Args:
        recipe: Name in the registry; None for the recipe of every model.
        config: Of the version that it begins with.
        plugins: See ``ml.plugins``.
        threads: CPU threads inside one operation.
        device: ``cpu`` or ``cuda``.
        options: Fields of ``RecipeOptions`` that are plain values.
    """

    recipe: str | None
    config: dict[str, Any] | None
    threads: int
    device: str = "cpu"
    plugins: list[str] = field(default_factory=list)
    options: dict[str, Any] = field(default_factory=dict)

    def write(self, folder: Path) -> None:
        """Write it where ``read`` looks."""
        (folder / JOB_NAME).write_text(json.dumps(asdict(self)), encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> "Job":
        """Read what ``write`` wrote."""
        return cls(**json.loads((folder / JOB_NAME).read_text(encoding="utf-8")))


def main() -> None:
    """Train as the folder says; the exit status is 0 when ``out/`` is complete."""
    die_with_launcher()
    folder = Path(sys.argv[1])
    threading.Thread(target=_die_with_parent, name="parent", daemon=True).start()
    job = Job.read(folder)
    torch.set_num_threads(job.threads)
    # The same steps give the same weights, also where cuDNN knows a faster way that does not.
    torch.backends.cudnn.deterministic = True
    for problem in load_plugins(job.plugins):
        print(problem, flush=True)  # noqa: T201 - the log of this training
    try:
        with joined(torch.device(job.device)) as device:
            _log_world()
            run(job, folder, str(device), _tell)
    except MLError as error:
        _tell({"event": "failed", "code": error_code(error), "detail": str(error)})
        sys.exit(1)
    except torch.OutOfMemoryError as error:  # pragma: no cover - needs a GPU
        _tell({"event": "failed", "code": "out_of_memory", "detail": str(error).partition("\n")[0]})
        sys.exit(1)


def run(job: Job, folder: Path, device: str, tell: Tell) -> None:
    """Train and write the result into ``out/``.

    Raises:
        MLError: The data is not there or does not fit, or the training failed.
    """
    weights = folder / WEIGHTS_NAME
    options = RecipeOptions(
        **job.options,
        device=device,
        config=job.config,
        weights=weights.read_bytes() if weights.exists() else None,
        examples=_read_examples(folder),
        checkpoints=FolderCheckpoints(folder, lambda epoch, path: _hand_over(epoch, path, tell)),
    )
    recipe = train_by_kind if job.recipe is None else RECIPES[job.recipe]
    trained = recipe(options, _reporter(tell))
    if current_world().is_first:
        write_bundle(folder / OUT_NAME, trained.predictor, trained.config, trained.metrics, trained.card)


def error_code(error: MLError) -> str:
    """The member of ``schemas.enums.TrainingErrorCode`` that an error stands for."""
    if isinstance(error, NoDataError):
        return "no_data"
    if isinstance(error, DivergedError):
        return "diverged"
    if isinstance(error, TrainingError | InvalidInputError | InvalidTargetError | InvalidSpecError | WeightsError):
        return "invalid_data"
    return "internal"


def _read_examples(folder: Path) -> Examples | None:
    posted = folder / POSTED_NAME
    if posted.exists():
        tensors = safetensors.torch.load_file(posted)
        return PostedExamples(tensors["inputs"], tensors["targets"])
    listed = folder / EXAMPLES_NAME
    if not listed.exists():
        return None
    rows = [json.loads(line) for line in listed.read_text(encoding="utf-8").splitlines()]
    return CorrectedExamples([_read_correction(row, folder / INPUTS_NAME) for row in rows], _log_skipped)


def _read_correction(row: dict[str, Any], inputs: Path) -> Correction:
    if "file" in row:
        return Correction(read=(inputs / row["file"]).read_bytes, label=row["label"], weight=row["weight"])
    return Correction(read=lambda: row["input"], label=row["label"], weight=row["weight"])


def _log_skipped(count: int, reason: str) -> None:
    print(f"left out {count} example(s) that cannot be used, such as: {reason}", flush=True)  # noqa: T201 - the log


def _log_world() -> None:
    world = current_world()
    if world.is_first and not world.is_alone:
        print(f"{world.size} processes train together", flush=True)  # noqa: T201 - the log of this training


def _hand_over(epoch: int, path: Path, tell: Tell) -> None:
    """Tell of a checkpoint and wait until it was taken: what is told to be safe is."""
    offered = path.with_name(f"checkpoint-{epoch}.offered")
    os.link(path, offered)
    tell({"event": "checkpoint", "epoch": epoch, "file": offered.name})
    while offered.exists():
        time.sleep(SAVED_POLL_S)


def _reporter(tell: Tell) -> OnProgress:
    last_s = 0.0

    def report(progress: Progress) -> None:
        nonlocal last_s
        ends_epoch = progress.step % (progress.steps // progress.epochs) == 0
        if ends_epoch:
            print(  # noqa: T201 - the log of this training
                f"epoch {progress.epoch}/{progress.epochs}  loss {progress.loss:.4f}  metric {progress.metric:.4f}",
                flush=True,
            )
        if ends_epoch or time.monotonic() - last_s >= EVENT_INTERVAL_S:
            last_s = time.monotonic()
            tell({"event": "progress", **asdict(progress)})

    return report


def _tell(event: dict[str, Any]) -> None:
    # In one write, so that lines of several processes do not mix.
    sys.stdout.write(f"{EVENT_MARK}{json.dumps(event)}\n")
    sys.stdout.flush()


def _die_with_parent() -> None:
    """End this process when the one that started it is gone: standard input is a pipe whose other end it holds."""
    hung_up = select.poll()
    hung_up.register(sys.stdin.fileno(), 0)
    hung_up.poll()
    os._exit(1)


if __name__ == "__main__":
    main()
