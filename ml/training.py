"""The training loop, the same for every kind and recipe.

Shapes: N items, B batch; ``...`` the item's own shape.
"""

import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ml.errors import TrainingError
from ml.predictor import Predictor

Augment = Callable[[Tensor, torch.Generator], Tensor]
"""From a batch ``[B, ...]`` and the source of randomness to a changed batch of the same shape."""

NextBatch = Callable[[torch.Generator], tuple[Tensor, Tensor]]
"""From the source of randomness to a fresh batch of items ``[B, ...]`` and targets ``[B, ...]``."""

EVALUATION_BATCH = 500
"""Items in one forward where no gradients are kept."""

_SMOOTHING = 0.05
"""Weight of the newest step in the running loss and accuracy that progress shows."""


@dataclass(frozen=True, kw_only=True)
class FitOptions:
    """How to train.

    Args:
        epochs: Passes over the data.
        batch_size: Items in one step.
        peak_learning_rate: Highest rate of the one-cycle schedule.
        weight_decay: Applied to weights of two or more dimensions; biases and norms are left alone.
        warmup_share: Share of all steps in which the rate rises; it falls along a cosine in the rest.
        seed: Of the order and of the augmentation.
        bfloat16: Compute in bfloat16 where that is safe; about twice as fast on CPUs with AMX.
        optimizer: ``sgd`` with Nesterov momentum, or ``adamw`` for networks whose parts need steps of unequal size.
    """

    epochs: int
    batch_size: int
    peak_learning_rate: float
    weight_decay: float = 0.0
    warmup_share: float = 0.2
    seed: int = 0
    bfloat16: bool = False
    optimizer: Literal["sgd", "adamw"] = "sgd"


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Where a training is, after a step; loss and metric are running means over the latest steps."""

    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float
    metric: float


OnProgress = Callable[[Progress], None]


def fit(
    predictor: Predictor,
    items: Tensor,
    targets: Tensor,
    options: FitOptions,
    *,
    augment: Augment | None = None,
    on_progress: OnProgress | None = None,
) -> None:
    """Train the predictor's network in place and leave it ready to answer.

    Args:
        predictor: Its loss is made small.
        items: ``[N, ...]`` as the predictor decodes them.
        targets: ``[N]`` as the predictor's loss takes them.
        options: How.
        augment: Changes every training batch.
        on_progress: Called after every step.

    Raises:
        TrainingError: There is no data, or the loss stopped being finite.
    """
    if len(items) == 0:
        raise TrainingError("There is nothing to train on.")
    generator = torch.Generator().manual_seed(options.seed)

    def epoch() -> Iterator[tuple[Tensor, Tensor]]:
        for chosen in torch.split(torch.randperm(len(items), generator=generator), options.batch_size):
            batch = items[chosen] if augment is None else augment(items[chosen], generator)
            yield batch, targets[chosen]

    _run(predictor, epoch, math.ceil(len(items) / options.batch_size), options, on_progress)


def fit_fresh(
    predictor: Predictor,
    next_batch: NextBatch,
    options: FitOptions,
    *,
    steps: int,
    on_progress: OnProgress | None = None,
) -> None:
    """Train on data that is made on the fly, so that no item is seen twice.

    Args:
        predictor: Its loss is made small.
        next_batch: Makes items and their targets, as many as it likes.
        options: How; their batch size means nothing here.
        steps: Batches that are counted as one epoch.
        on_progress: Called after every step.

    Raises:
        TrainingError: The loss stopped being finite.
    """
    generator = torch.Generator().manual_seed(options.seed)
    # One batch ahead, in a thread of its own that alone draws from the generator: the order of draws stays the same.
    with ThreadPoolExecutor(1, thread_name_prefix="compose") as ahead:
        following = ahead.submit(next_batch, generator)

        def epoch() -> Iterator[tuple[Tensor, Tensor]]:
            nonlocal following
            for _ in range(steps):
                batch, following = following.result(), ahead.submit(next_batch, generator)
                yield batch

        _run(predictor, epoch, steps, options, on_progress)


def _run(
    predictor: Predictor,
    epoch: Callable[[], Iterator[tuple[Tensor, Tensor]]],
    steps_per_epoch: int,
    options: FitOptions,
    on_progress: OnProgress | None,
) -> None:
    steps = steps_per_epoch * options.epochs
    optimizer = _build_optimizer(predictor, options)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, options.peak_learning_rate, total_steps=steps, pct_start=options.warmup_share
    )
    running = _Running()
    predictor.module.train()
    step = 0
    for number in range(1, options.epochs + 1):
        for batch, targets in epoch():
            running.add(*_step(predictor, batch, targets, optimizer, bfloat16=options.bfloat16))
            schedule.step()
            step += 1
            if on_progress is not None:
                on_progress(
                    Progress(
                        epoch=number,
                        epochs=options.epochs,
                        step=step,
                        steps=steps,
                        loss=running.loss,
                        metric=running.metric,
                    )
                )
    predictor.module.eval()


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


class _Running:
    """Exponentially weighted means, so that the numbers shown are of late and do not jump."""

    def __init__(self) -> None:
        self.loss = math.nan
        self.metric = math.nan

    def add(self, loss: float, metric: float) -> None:
        self.loss = loss if math.isnan(self.loss) else self.loss + _SMOOTHING * (loss - self.loss)
        self.metric = metric if math.isnan(self.metric) else self.metric + _SMOOTHING * (metric - self.metric)


def _build_optimizer(predictor: Predictor, options: FitOptions) -> torch.optim.Optimizer:
    parameters = list(predictor.module.parameters())
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": options.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if options.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=options.peak_learning_rate)
    return torch.optim.SGD(groups, lr=options.peak_learning_rate, momentum=0.9, nesterov=True)


def _step(
    predictor: Predictor, batch: Tensor, targets: Tensor, optimizer: torch.optim.Optimizer, *, bfloat16: bool
) -> tuple[float, float]:
    targets = targets.to(predictor.device)
    with torch.autocast(predictor.device.type, torch.bfloat16, enabled=bfloat16):
        outputs = predictor.forward(batch)
    loss = predictor.loss(outputs, targets)
    if not bool(loss.isfinite()):
        raise TrainingError("The loss is no longer finite. Lower the learning rate or look for bad values in the data.")
    optimizer.zero_grad()
    # The stubs of torch leave this method untyped.
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return float(loss.detach()), predictor.metric(outputs.detach(), targets)
