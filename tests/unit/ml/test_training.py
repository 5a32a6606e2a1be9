from typing import Literal

import pytest
import torch

from ml.datasets.xor import load_table
from ml.errors import DatasetError, TrainingError
from ml.kinds import build_untrained
from ml.predictor import Predictor
from ml.spec import ModelSpec
from ml.training import FitOptions, Progress, fit, fit_fresh, forward_all

OPTIONS = FitOptions(epochs=3, batch_size=3, peak_learning_rate=0.1)


@pytest.fixture
def predictor(vector_spec: ModelSpec) -> Predictor:
    return build_untrained(vector_spec, "cpu")


def test_training_learns(predictor: Predictor) -> None:
    items, targets = (tensor.repeat(16, 1) if tensor.ndim > 1 else tensor.repeat(16) for tensor in load_table())
    fit(predictor, items, targets, FitOptions(epochs=100, batch_size=16, peak_learning_rate=0.3))
    assert predictor.metric(forward_all(predictor, items), targets) == 1


def test_the_same_seed_gives_the_same_weights(vector_spec: ModelSpec) -> None:
    trained = []
    for _ in range(2):
        torch.manual_seed(7)
        predictor = build_untrained(vector_spec, "cpu")
        fit(predictor, *load_table(), OPTIONS)
        trained.append(torch.nn.utils.parameters_to_vector(predictor.module.parameters()))
    assert torch.equal(*trained)


def test_progress_is_told_after_every_step(predictor: Predictor) -> None:
    told: list[Progress] = []
    fit(predictor, *load_table(), OPTIONS, on_progress=told.append)
    assert [(progress.epoch, progress.step) for progress in told] == [(1, 1), (1, 2), (2, 3), (2, 4), (3, 5), (3, 6)]
    assert {(progress.epochs, progress.steps) for progress in told} == {(3, 6)}
    assert all(progress.loss > 0 and 0 <= progress.metric <= 1 for progress in told)


def test_every_batch_is_augmented(predictor: Predictor) -> None:
    seen: list[int] = []

    def augment(batch: torch.Tensor, _generator: torch.Generator) -> torch.Tensor:
        seen.append(len(batch))
        return batch

    fit(predictor, *load_table(), OPTIONS, augment=augment)
    assert seen == [3, 1] * 3


def test_a_trained_network_is_ready_to_answer(predictor: Predictor) -> None:
    fit(predictor, *load_table(), OPTIONS)
    assert not predictor.module.training


def test_bfloat16_leaves_weights_in_float32(predictor: Predictor) -> None:
    fit(predictor, *load_table(), FitOptions(epochs=1, batch_size=4, peak_learning_rate=0.1, bfloat16=True))
    assert {parameter.dtype for parameter in predictor.module.parameters()} == {torch.float32}


def test_no_data_is_refused(predictor: Predictor) -> None:
    with pytest.raises(TrainingError, match="nothing to train on"):
        fit(predictor, torch.zeros(0, 2), torch.zeros(0, dtype=torch.int64), OPTIONS)


def test_a_loss_that_is_not_finite_ends_the_training(predictor: Predictor) -> None:
    items = torch.full((4, 2), float("nan"))
    with pytest.raises(TrainingError, match="no longer finite"):
        fit(predictor, items, torch.zeros(4, dtype=torch.int64), OPTIONS)


def test_all_outputs_come_without_gradients(predictor: Predictor) -> None:
    outputs = forward_all(predictor, torch.zeros(1_001, 2))
    assert outputs.shape == (1_001, 1)
    assert not outputs.requires_grad


def draw_table(generator: torch.Generator, _made: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Sixteen lines of the table, each at random."""
    items, targets = load_table()
    chosen = torch.randint(len(items), (16,), generator=generator)
    return items[chosen], targets[chosen]


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_training_learns_from_data_made_on_the_fly(predictor: Predictor, optimizer: Literal["sgd", "adamw"]) -> None:
    options = FitOptions(epochs=2, batch_size=16, peak_learning_rate=0.2, optimizer=optimizer)
    fit_fresh(predictor, draw_table, options, steps=200)
    items, targets = load_table()
    assert predictor.metric(forward_all(predictor, items), targets) == 1


def test_fresh_data_is_counted_in_epochs(predictor: Predictor) -> None:
    told: list[Progress] = []
    options = FitOptions(epochs=2, batch_size=16, peak_learning_rate=0.1)
    fit_fresh(predictor, draw_table, options, steps=3, on_progress=told.append)
    assert [(progress.epoch, progress.step) for progress in told] == [(1, 1), (1, 2), (1, 3), (2, 4), (2, 5), (2, 6)]


def test_fresh_data_is_the_same_for_the_same_seed(vector_spec: ModelSpec) -> None:
    trained = []
    for _ in range(2):
        torch.manual_seed(7)
        predictor = build_untrained(vector_spec, "cpu")
        fit_fresh(predictor, draw_table, OPTIONS, steps=3)
        trained.append(torch.nn.utils.parameters_to_vector(predictor.module.parameters()))
    assert torch.equal(*trained)


def test_data_that_cannot_be_made_ends_the_training(predictor: Predictor) -> None:
    def fail(_generator: torch.Generator, _made: int) -> tuple[torch.Tensor, torch.Tensor]:
        raise DatasetError("no data")

    with pytest.raises(DatasetError):
        fit_fresh(predictor, fail, OPTIONS, steps=3)
