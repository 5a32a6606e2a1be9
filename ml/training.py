"""The ways to train, the same for every kind and recipe; the loop is in ``ml.loop``.

Shapes: N items, B batch; ``...`` the item's own shape.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import torch
from torch import Tensor

from ml.batches import Augment, FreshBatches, NextBatch, StoredBatches
from ml.checkpoints import Checkpoints
from ml.distributed import current_world
from ml.loop import FitOptions, Loop, OnProgress, Progress
from ml.predictor import Predictor

__all__ = [
    "Augment",
    "FitOptions",
    "NextBatch",
    "OnProgress",
    "Progress",
    "compute_threads",
    "fit",
    "fit_fresh",
    "forward_all",
]

EVALUATION_BATCH = 500
"""Items in one forward where no gradients are kept."""


def fit(
    predictor: Predictor,
    items: Tensor,
    targets: Tensor,
    options: FitOptions,
    *,
    weights: Tensor | None = None,
    augment: Augment | None = None,
    on_progress: OnProgress | None = None,
    checkpoints: Checkpoints | None = None,
) -> None:
    """Train the predictor's network in place and leave it ready to answer.

    Args:
        predictor: Its loss is made small.
        items: ``[N, ...]`` as the predictor decodes them.
        targets: ``[N]`` as the predictor's loss takes them.
        options: How.
        weights: ``[N]``, how often each item comes in an epoch, on average; None for once each.
        augment: Changes every training batch.
        on_progress: Called after every step.
        checkpoints: Where to go on from, and where to keep every epoch.

    Raises:
        TrainingError: There is no data, or the loss stopped being finite.
    """
    batches = StoredBatches(
        items,
        targets,
        weights=weights,
        batch_size=options.batch_size,
        seed=options.seed,
        augment=augment,
        world=current_world(),
    )
    Loop(predictor, batches, options, on_progress=on_progress, checkpoints=checkpoints).run()


def fit_fresh(
    predictor: Predictor,
    next_batch: NextBatch,
    options: FitOptions,
    *,
    steps: int,
    on_progress: OnProgress | None = None,
    checkpoints: Checkpoints | None = None,
) -> None:
    """Train on data that is made on the fly, so that no item is seen twice.

    Args:
        predictor: Its loss is made small.
        next_batch: Makes items and their targets, as many as it likes.
        options: How; their batch size means nothing here.
        steps: Batches that are counted as one epoch.
        on_progress: Called after every step.
        checkpoints: Where to go on from, and where to keep every epoch.

    Raises:
        TrainingError: The loss stopped being finite.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="compose") as ahead:
        batches = FreshBatches(next_batch, steps=steps, seed=options.seed, world=current_world(), ahead=ahead)
        Loop(predictor, batches, options, on_progress=on_progress, checkpoints=checkpoints).run()


@contextmanager
def compute_threads(count: int) -> Iterator[None]:
    """Run the body with so many threads inside one operation on the CPU, in the whole process."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def forward_all(predictor: Predictor, items: Tensor) -> Tensor:
    """Outputs ``[N, ...]`` for all items ``[N, ...]``, on the CPU, in batches and without gradients."""
    with torch.inference_mode():
        return torch.cat([predictor.forward(batch).cpu() for batch in torch.split(items, EVALUATION_BATCH)])
