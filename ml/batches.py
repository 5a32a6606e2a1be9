"""What one epoch trains on, batch by batch, and how its randomness is kept for a checkpoint.

Shapes: N items, B batch; ``...`` the item's own shape.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from torch import Tensor

from ml.distributed import World
from ml.errors import TrainingError

Augment = Callable[[Tensor, torch.Generator], Tensor]
"""From a batch ``[B, ...]`` and the source of randomness to a changed batch of the same shape."""

NextBatch = Callable[[torch.Generator, int], tuple[Tensor, Tensor]]
"""From the source of randomness and the number of batches before to a fresh batch ``[B, ...]`` and targets."""

Batch = tuple[Tensor, Tensor]


class Batches(ABC):
    """A source of training batches.

    Attributes:
        steps: Batches in one epoch.
    """

    steps: int

    @abstractmethod
    def epoch(self, number: int) -> Iterator[Batch]:
        """The batches of an epoch, counted from 1; epochs are asked for in order."""

    @abstractmethod
    def state(self) -> Tensor:
        """The state of randomness after the last epoch."""

    @abstractmethod
    def restore(self, state: Tensor, epochs: int) -> None:
        """Go on after so many epochs with the ``state`` that was there then."""


class StoredBatches(Batches):
    """Items that lie in memory, in another order every epoch.

    Args:
        items: ``[N, ...]`` as the predictor decodes them.
        targets: ``[N]`` as the predictor's loss takes them.
        weights: ``[N]`` how often an item comes, as a share of the average; None for equally often.
        batch_size: B of all processes together.
        seed: Of the order and of the augmentation.
        augment: Changes every batch.
        world: Each process gets its share of every batch.

    Raises:
        TrainingError: There is no item.
    """

    def __init__(
        self,
        items: Tensor,
        targets: Tensor,
        *,
        weights: Tensor | None,
        batch_size: int,
        seed: int,
        augment: Augment | None,
        world: World,
    ) -> None:
        if len(items) == 0:
            raise TrainingError("There is nothing to train on.")
        self._items, self._targets = items, targets
        self._weights = None if weights is None or bool((weights == 1).all()) else weights.double()
        self._drawn = len(items) if self._weights is None else max(1, round(float(self._weights.sum())))
        self._batch_size, self._seed, self._augment, self._world = batch_size, seed, augment, world
        self._generator = torch.Generator().manual_seed(seed)
        self.steps = -(-self._drawn // batch_size)

    def epoch(self, number: int) -> Iterator[Batch]:
        """See ``Batches``."""
        own = self._generator
        if not self._world.is_alone:
            # The order must stay the same in all processes, whatever each draws for its share.
            own = torch.Generator().manual_seed(self._world.seed(self._seed, number))
        for chosen in torch.split(self._order(), self._batch_size):
            mine = self._world.share(chosen)
            batch = self._items[mine]
            yield batch if self._augment is None else self._augment(batch, own), self._targets[mine]

    def state(self) -> Tensor:
        """See ``Batches``."""
        return self._generator.get_state()

    def restore(self, state: Tensor, epochs: int) -> None:  # noqa: ARG002 - the state says it all
        """See ``Batches``."""
        self._generator.set_state(state)

    def _order(self) -> Tensor:
        if self._weights is None:
            return torch.randperm(len(self._items), generator=self._generator)
        # Systematic sampling: every item comes as often as its weight says, to within one, in every epoch.
        ends = self._weights.cumsum(0)
        start = torch.rand(1, generator=self._generator, dtype=torch.float64)
        points = (torch.arange(self._drawn, dtype=torch.float64) + start) / self._drawn * ends[-1]
        drawn = torch.searchsorted(ends, points, right=True).clamp(max=len(ends) - 1)
        return drawn[torch.randperm(self._drawn, generator=self._generator)]


class FreshBatches(Batches):
    """Batches that are made on the fly, one ahead, in a thread of its own that alone draws from the generator.

    Args:
        next_batch: Makes them.
        steps: Batches that are counted as one epoch.
        seed: Of what is made.
        world: Each process makes batches of its own.
        ahead: Runs ``next_batch``; a single thread.
    """

    def __init__(
        self, next_batch: NextBatch, *, steps: int, seed: int, world: World, ahead: ThreadPoolExecutor
    ) -> None:
        self._next_batch, self._ahead, self._seed, self._world = next_batch, ahead, seed, world
        self.steps = steps
        # The first process draws what one alone would.
        self._generator = torch.Generator().manual_seed(seed + world.rank)
        self._made = 0
        self._following: Future[tuple[Tensor, Batch]] | None = None

    def epoch(self, number: int) -> Iterator[Batch]:
        """See ``Batches``."""
        if not self._world.is_alone:
            self._restart(self._world.seed(self._seed, number))
        for _ in range(self.steps):
            following = self._following or self._submit()
            _, batch = following.result()
            self._following = self._submit()
            yield batch

    def state(self) -> Tensor:
        """See ``Batches``: as it was before the batch that is being made ahead."""
        if self._following is None:
            return self._generator.get_state()
        return self._following.result()[0]

    def restore(self, state: Tensor, epochs: int) -> None:
        """See ``Batches``."""
        self._wait()
        self._made = epochs * self.steps
        self._generator.set_state(state)

    def _restart(self, seed: int) -> None:
        self._wait()
        self._generator.manual_seed(seed)

    def _wait(self) -> None:
        if self._following is not None:
            self._following.result()
            self._following = None
            self._made -= 1

    def _submit(self) -> "Future[tuple[Tensor, Batch]]":
        number, self._made = self._made, self._made + 1
        return self._ahead.submit(self._draw, number)

    def _draw(self, number: int) -> tuple[Tensor, Batch]:
        before = self._generator.get_state()
        return before, self._next_batch(self._generator, number)
