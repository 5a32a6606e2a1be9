"""`ml.compiling`: a compilation that can be broken off."""

import os

import pytest
import torch
from torch import Tensor, nn

from ml.compiling import check_compiles
from ml.errors import VariantError


class Crashing(nn.Module):
    """Ends its process, as a broken compiler does; must never run in the test's own."""

    def forward(self, batch: Tensor) -> Tensor:
        if len(batch):
            os._exit(1)
        return batch


def test_a_compilation_is_broken_off_when_its_time_is_up() -> None:
    with pytest.raises(VariantError, match=r"took longer than 0 s"):
        check_compiles(nn.Linear(2, 2), torch.zeros(2, 2), limit_s=0.05)


def test_a_crash_is_told_and_harms_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    # The child inherits it: dynamo hands the call through, which is where the crash waits.
    monkeypatch.setenv("TORCHDYNAMO_DISABLE", "1")
    with pytest.raises(VariantError, match="crashed its process"):
        check_compiles(Crashing(), torch.zeros(2, 2))


def test_a_failure_is_told_with_its_first_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHDYNAMO_DISABLE", "1")
    with pytest.raises(VariantError, match=r"torch\.compile failed: RuntimeError: .*mat1 and mat2 shapes"):
        check_compiles(nn.Linear(2, 2), torch.zeros(2, 3))


def test_a_compilation_that_works_is_no_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHDYNAMO_DISABLE", "1")
    check_compiles(nn.Linear(2, 2), torch.zeros(2, 2))
