"""The training loop itself: steps, progress, and a checkpoint after every epoch that it goes on from bit by bit.

Shapes: B batch; ``...`` the item's own shape.
"""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from ml.batches import Batches
from ml.checkpoints import Checkpoints, State
from ml.distributed import current_world, replicated
from ml.errors import DivergedError
from ml.predictor import Predictor

_SMOOTHING = 0.05
"""Weight of the newest step in the running loss and accuracy that progress shows."""


@dataclass(frozen=True, kw_only=True)
class FitOptions:
    """How to train.

    Args:
        epochs: Passes over the data.
        batch_size: Items in one step, of all processes together.
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


class Loop:
    """Trains a predictor's network in place.

    Args:
        predictor: Its loss is made small.
        batches: What is trained on.
        options: How.
        on_progress: Called after every step, in the first process only.
        checkpoints: Where to go on from, and where to keep every epoch; None keeps nothing.
    """

    def __init__(
        self,
        predictor: Predictor,
        batches: Batches,
        options: FitOptions,
        *,
        on_progress: OnProgress | None,
        checkpoints: Checkpoints | None,
    ) -> None:
        self._predictor, self._batches, self._options = predictor, batches, options
        self._on_progress, self._checkpoints = on_progress, checkpoints
        self._steps = batches.steps * options.epochs
        self._optimizer = _build_optimizer(predictor.module, options)
        self._schedule = torch.optim.lr_scheduler.OneCycleLR(
            self._optimizer, options.peak_learning_rate, total_steps=self._steps, pct_start=options.warmup_share
        )
        self._running = _Running()
        self._world = current_world()

    def run(self) -> None:
        """Train until the last epoch, from where the checkpoint left off.

        Raises:
            DivergedError: The loss stopped being finite.
        """
        done = self._resume()
        with replicated(self._predictor) as module:
            module.train()
            for number in range(done + 1, self._options.epochs + 1):
                self._run_epoch(number)
                self._save(number, module)
            module.eval()

    def _run_epoch(self, number: int) -> None:
        if not self._world.is_alone:
            # What the network itself draws, as dropout does, must differ between processes and come again after a kill.
            torch.manual_seed(self._world.seed(self._options.seed, number))
        step = (number - 1) * self._batches.steps
        for batch, targets in self._batches.epoch(number):
            self._running.add(*self._step(batch, targets))
            # The schedule ends with the last step, and says so when it is asked for more.
            self._schedule.step()
            step += 1
            if self._on_progress is not None and self._world.is_first:
                self._on_progress(self._describe(number, step))

    def _describe(self, number: int, step: int) -> Progress:
        return Progress(
            epoch=number,
            epochs=self._options.epochs,
            step=step,
            steps=self._steps,
            loss=self._running.loss,
            metric=self._running.metric,
        )

    def _step(self, batch: Tensor, targets: Tensor) -> tuple[float, float]:
        predictor = self._predictor
        targets = targets.to(predictor.device)
        with torch.autocast(predictor.device.type, torch.bfloat16, enabled=self._options.bfloat16):
            outputs = predictor.forward(batch)
        loss = predictor.loss(outputs, targets)
        if not bool(loss.isfinite()):
            raise DivergedError(
                "The loss is no longer finite. Lower the learning rate or look for bad values in the data."
            )
        self._optimizer.zero_grad()
        # The stubs of torch leave this method untyped.
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()
        return float(loss.detach()), predictor.metric(outputs.detach(), targets)

    def _save(self, epoch: int, module: nn.Module) -> None:
        if self._checkpoints is None or not self._world.is_first:
            return
        state: State = {
            "epoch": epoch,
            "fits": self._fingerprint(),
            "module": module.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "schedule": self._schedule.state_dict(),
            "batches": self._batches.state(),
            "random": _random_state(self._predictor.device),
            "running": [self._running.loss, self._running.metric],
        }
        self._checkpoints.save(epoch, state)

    def _resume(self) -> int:
        """Take up the checkpoint; returns how many epochs are done."""
        state = None if self._checkpoints is None else self._checkpoints.load()
        if state is None or state["fits"] != self._fingerprint():
            return 0
        epoch = int(state["epoch"])
        self._predictor.module.load_state_dict(state["module"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._schedule.load_state_dict(state["schedule"])
        self._batches.restore(state["batches"], epoch)
        self._running.loss, self._running.metric = state["running"]
        if self._world.is_alone:
            _restore_random(state["random"])
        return epoch

    def _fingerprint(self) -> dict[str, object]:
        """What a checkpoint must agree with; one of another training would go on from nonsense."""
        parameters = sum(parameter.numel() for parameter in self._predictor.module.parameters())
        return {
            **asdict(self._options),
            "steps": self._batches.steps,
            "size": self._world.size,
            "parameters": parameters,
        }


class _Running:
    """Exponentially weighted means, so that the numbers shown are of late and do not jump."""

    def __init__(self) -> None:
        self.loss = math.nan
        self.metric = math.nan

    def add(self, loss: float, metric: float) -> None:
        self.loss = loss if math.isnan(self.loss) else self.loss + _SMOOTHING * (loss - self.loss)
        self.metric = metric if math.isnan(self.metric) else self.metric + _SMOOTHING * (metric - self.metric)


def _build_optimizer(module: nn.Module, options: FitOptions) -> torch.optim.Optimizer:
    parameters = list(module.parameters())
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": options.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if options.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=options.peak_learning_rate)
    return torch.optim.SGD(groups, lr=options.peak_learning_rate, momentum=0.9, nesterov=True)


def _random_state(device: torch.device) -> dict[str, Tensor]:
    state = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":  # pragma: no cover - needs a GPU
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def _restore_random(state: dict[str, Tensor]) -> None:
    torch.set_rng_state(state["cpu"])
    if "cuda" in state:  # pragma: no cover - needs a GPU
        torch.cuda.set_rng_state(state["cuda"])
