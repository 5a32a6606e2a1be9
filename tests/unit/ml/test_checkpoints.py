"""A training that is broken off goes on bit by bit; see `ml.checkpoints`, `ml.batches` and `ml.loop`."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from ml.batches import StoredBatches
from ml.checkpoints import FolderCheckpoints
from ml.datasets.xor import load_table
from ml.distributed import World
from ml.kinds import build_untrained
from ml.predictor import Predictor
from ml.spec import ModelSpec
from ml.training import FitOptions, fit, fit_fresh

OPTIONS = FitOptions(epochs=4, batch_size=3, peak_learning_rate=0.1)


class KilledError(Exception):
    """Raised where a process would be killed."""


def jitter(batch: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    return batch + torch.randn(batch.shape, generator=generator)


def draw(generator: torch.Generator, made: int) -> tuple[torch.Tensor, torch.Tensor]:
    items, targets = load_table()
    chosen = torch.randint(len(items), (3,), generator=generator)
    return items[chosen] + made, targets[chosen]


def train(
    spec: ModelSpec, way: str, folder: Path | None = None, *, kill_after: int | None = None, **changes: Any
) -> Any:
    """Train from the same fresh weights; returns all of them, or None where it was killed after an epoch."""
    torch.manual_seed(7)
    predictor = build_untrained(spec, "cpu")

    def on_saved(epoch: int, _path: Path) -> None:
        if epoch == kill_after:
            raise KilledError

    checkpoints = None if folder is None else FolderCheckpoints(folder, on_saved)
    options = replace(OPTIONS, **changes)
    try:
        if way == "fresh":
            fit_fresh(predictor, draw, options, steps=2, checkpoints=checkpoints)
        else:
            weights = torch.tensor([1.0, 2.0, 0.5, 1.5]) if way == "weighted" else None
            fit(predictor, *load_table(), options, weights=weights, augment=jitter, checkpoints=checkpoints)
    except KilledError:
        return None
    return flat(predictor)


def flat(predictor: Predictor) -> torch.Tensor:
    return torch.nn.utils.parameters_to_vector(predictor.module.parameters()).detach()


@pytest.mark.parametrize("way", ["stored", "weighted", "fresh"])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_training_that_was_killed_ends_with_the_same_weights(
    vector_spec: ModelSpec, tmp_path: Path, way: str, optimizer: str
) -> None:
    undisturbed = train(vector_spec, way, optimizer=optimizer)

    assert train(vector_spec, way, tmp_path, kill_after=2, optimizer=optimizer) is None
    resumed = train(vector_spec, way, tmp_path, optimizer=optimizer)

    assert torch.equal(resumed, undisturbed)


def test_a_finished_training_is_not_trained_again(vector_spec: ModelSpec, tmp_path: Path) -> None:
    first = train(vector_spec, "stored", tmp_path)

    assert torch.equal(train(vector_spec, "stored", tmp_path), first)


def test_a_checkpoint_of_another_training_is_left_alone(vector_spec: ModelSpec, tmp_path: Path) -> None:
    train(vector_spec, "stored", tmp_path, kill_after=2)

    other = train(vector_spec, "stored", tmp_path, peak_learning_rate=0.2)

    assert torch.equal(other, train(vector_spec, "stored", peak_learning_rate=0.2))


@pytest.mark.parametrize("damage", [b"", b"no checkpoint", b"\x80\x02cos\nsystem\nq."])
def test_a_damaged_checkpoint_counts_as_none(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / FolderCheckpoints.NAME).write_bytes(damage)

    assert FolderCheckpoints(tmp_path).load() is None


def test_a_checkpoint_cannot_run_code(tmp_path: Path) -> None:
    torch.save({"module": torch.nn.Linear(1, 1)}, tmp_path / FolderCheckpoints.NAME)

    assert FolderCheckpoints(tmp_path).load() is None


def batches(weights: torch.Tensor | None, world: World, batch_size: int = 4) -> StoredBatches:
    items = torch.arange(8).float().unsqueeze(1)
    return StoredBatches(
        items, torch.arange(8), weights=weights, batch_size=batch_size, seed=0, augment=None, world=world
    )


def seen(source: StoredBatches) -> Counter[int]:
    return Counter(target for _, targets in source.epoch(1) for target in targets.tolist())


def test_an_item_comes_as_often_as_its_weight_says() -> None:
    weights = torch.tensor([2.0, 1.0, 3.0, 1.0, 1.0, 0.5, 0.5, 1.0])

    counts = seen(batches(weights, World()))

    assert sum(counts.values()) == 10
    assert all(abs(counts[index] - float(weight)) < 1 for index, weight in enumerate(weights))


def test_processes_share_every_batch() -> None:
    parts = [list(batches(None, World(rank=rank, size=2)).epoch(1)) for rank in range(2)]
    whole = list(batches(None, World()).epoch(1))

    for together, (first, second) in zip(whole, zip(*parts, strict=True), strict=True):
        assert sorted([*first[1].tolist(), *second[1].tolist()]) == sorted(together[1].tolist())


def test_processes_get_equally_many_items_of_an_uneven_batch() -> None:
    for batch_size in (1, 3, 5):
        sizes = [
            [len(targets) for _, targets in batches(None, World(rank=rank, size=4), batch_size).epoch(1)]
            for rank in range(4)
        ]
        assert all(each == sizes[0] for each in sizes)
