"""Several processes that train one network together: torch.distributed does it, ``torchrun`` starts them.

Each process has the same network and its share of every batch; DistributedDataParallel averages their gradients.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ml.confinement import die_with_parent, parent_is
from ml.predictor import Predictor

SIZE_VARIABLE = "WORLD_SIZE"
LOCAL_RANK_VARIABLE = "LOCAL_RANK"
"""Set by ``torchrun`` for each process that it starts."""

LAUNCHER_VARIABLE = "TORCHQUEUE_LAUNCHER"
"""Set by ``ml.launch`` for each process that it starts: its own number."""

_EPOCH_STRIDE = 1_000_003
"""Seeds of two epochs are further apart than there are processes."""


@dataclass(frozen=True, kw_only=True)
class World:
    """Which of how many processes this is."""

    rank: int = 0
    size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process speaks for all."""
        return self.rank == 0

    @property
    def is_alone(self) -> bool:
        """Whether there is no other."""
        return self.size == 1

    def share(self, chosen: Tensor) -> Tensor:
        """This process's part of a batch's indices ``[B]``: equally many for each, so some may come twice."""
        if self.is_alone:
            return chosen
        per_process = -(-len(chosen) // self.size)
        repeats = -(-per_process * self.size // len(chosen))
        return chosen.repeat(repeats)[self.rank : per_process * self.size : self.size]

    def seed(self, seed: int, epoch: int) -> int:
        """A seed of one process's own in one epoch."""
        return seed + epoch * _EPOCH_STRIDE + self.rank + 1


def die_with_launcher() -> None:
    """End with the launcher, if one started this process.

    ``torchrun`` ends its processes when it is asked to end. Killed, it cannot, and they would go on for as long as
    whoever started the launcher lives.
    """
    launcher = os.environ.get(LAUNCHER_VARIABLE)
    if launcher is None:
        return
    die_with_parent()
    if not parent_is(int(launcher)):
        # It was gone before the kernel was asked.
        sys.exit(1)


def current_world() -> World:
    """The world that ``joined`` made; outside of it this process is alone."""
    if not dist.is_initialized():
        return World()
    return World(rank=dist.get_rank(), size=dist.get_world_size())


@contextmanager
def joined(device: torch.device) -> Iterator[torch.device]:
    """Join the processes that ``torchrun`` started, if it did, while the block runs; gives this process's device."""
    if int(os.environ.get(SIZE_VARIABLE, "1")) < 2:
        yield device
        return
    if device.type == "cuda":  # pragma: no cover - needs GPUs
        device = torch.device("cuda", int(os.environ[LOCAL_RANK_VARIABLE]))
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield device
    finally:
        dist.destroy_process_group()


@contextmanager
def replicated(predictor: Predictor) -> Iterator[nn.Module]:
    """Average gradients over all processes while the block runs; gives the network itself."""
    module = predictor.module
    if current_world().is_alone:
        yield module
        return
    on_gpu = predictor.device.type == "cuda"
    predictor.module = DistributedDataParallel(module, device_ids=[predictor.device] if on_gpu else None)
    try:
        yield module
    finally:
        predictor.module = module
