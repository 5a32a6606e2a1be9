import pytest
import torch

from ml.conformal import conformal_offset, coverage, pinball_loss
from ml.errors import TrainingError

ZERO = torch.zeros(1)


def test_too_low_costs_the_quantile_and_too_high_the_rest() -> None:
    assert float(pinball_loss(ZERO, torch.tensor([10.0]), 0.9)) == pytest.approx(9)
    assert float(pinball_loss(ZERO, torch.tensor([-10.0]), 0.9)) == pytest.approx(1)
    assert float(pinball_loss(ZERO, ZERO, 0.9)) == 0


@pytest.mark.parametrize("quantile", [0.1, 0.5, 0.9])
def test_the_true_quantile_makes_the_loss_smallest(quantile: float) -> None:
    targets = torch.randn(2001)
    candidates = torch.linspace(-3, 3, 601)
    losses = torch.stack([pinball_loss(each.expand(2001), targets, quantile) for each in candidates])
    assert float(candidates[losses.argmin()]) == pytest.approx(float(targets.quantile(quantile)), abs=0.02)


def test_the_offset_is_the_rank_of_the_paper() -> None:
    # Nine targets that miss an interval of no width by 1 to 9: rank ceil((9 + 1) * 0.8) = 8.
    targets = torch.arange(1.0, 10.0)
    assert conformal_offset(torch.zeros(9), torch.zeros(9), targets, 0.8) == 8


def test_an_interval_that_is_too_wide_shrinks() -> None:
    targets = torch.zeros(99)
    assert conformal_offset(targets - 5, targets + 5, targets, 0.8) == -5


def test_a_calibrated_interval_holds_its_share_of_new_targets() -> None:
    known, new = torch.randn(20_000), torch.randn(20_000)
    low, high = torch.full((20_000,), -0.3), torch.full((20_000,), 0.9)
    offset = conformal_offset(low, high, known, 0.8)
    assert coverage(low, high, new) < 0.5
    assert coverage(low - offset, high + offset, new) == pytest.approx(0.8, abs=0.015)


def test_too_few_items_to_promise_the_share_are_refused() -> None:
    few = torch.zeros(3)
    with pytest.raises(TrainingError, match=r"3 item\(s\) are too few to calibrate an interval of 80%"):
        conformal_offset(few, few, few, 0.8)


def test_the_ends_belong_to_the_interval() -> None:
    targets = torch.tensor([1.0, 2.0, 3.0, 4.0])
    assert coverage(torch.full((4,), 2.0), torch.full((4,), 3.0), targets) == 0.5
