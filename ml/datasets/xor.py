"""The four lines of the exclusive-or table: the smallest problem that no linear model can solve."""

import torch
from torch import Tensor

LABELS = ("0", "1")


def load_table() -> tuple[Tensor, Tensor]:
    """Inputs ``[4, 2]`` float32 and targets ``[4]`` int64, an index into ``LABELS``."""
    inputs = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    return inputs, torch.tensor([0, 1, 1, 0])
