"""`ml.folding`: fewer operations, the same answers, and nothing that another thread would notice."""

import threading
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import mobilenet_v3_small, resnet18

from ml.errors import VariantError
from ml.folding import fold_batch_norms, has_batch_norms

IMAGE = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def _run(module: nn.Module) -> Tensor:
    with torch.inference_mode():
        answer: Tensor = module(IMAGE)
    return answer


def _seen(module: nn.Module) -> nn.Module:
    """Let a network's normalisations see data, so that folding them wrongly would show."""
    torch.manual_seed(0)
    module.train()
    with torch.no_grad():
        for _ in range(3):
            module(torch.rand(8, 3, 32, 32))
    return module.eval()


class Pair(nn.Module):
    """A convolution and the normalisation of its output."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)
        self.norm = nn.BatchNorm2d(4)

    def forward(self, batch: Tensor) -> Tensor:
        """``[B, 3, H, W]`` -> ``[B, 4, H, W]``."""
        normalised: Tensor = self.norm(self.conv(batch))
        return normalised


class Branching(Pair):
    """Decides by a value, as no tracer can follow."""

    def forward(self, batch: Tensor) -> Tensor:
        """See the class."""
        normalised = super().forward(batch)
        return normalised if batch.sum() > 0 else -normalised


class ReadTwice(Pair):
    """Something else needs the convolution's output too."""

    def forward(self, batch: Tensor) -> Tensor:
        """See the class."""
        features = self.conv(batch)
        changed: Tensor = self.norm(features) + features
        return changed


class Returned(Pair):
    """The convolution's output is an answer too."""

    def forward(self, batch: Tensor) -> dict[str, Tensor]:  # type: ignore[override]
        """See the class."""
        features = self.conv(batch)
        return {"features": features, "out": self.norm(features)}


class CalledTwice(Pair):
    """One convolution before two things."""

    def forward(self, batch: Tensor) -> Tensor:
        """See the class."""
        changed: Tensor = self.norm(self.conv(batch)) + self.conv(batch + 1)
        return changed


class NormedTwice(Pair):
    """One normalisation after two things."""

    def forward(self, batch: Tensor) -> Tensor:
        """See the class."""
        changed: Tensor = self.norm(self.conv(batch)) + self.norm(batch.repeat(1, 2, 1, 1)[:, :4])
        return changed


class Changed(Pair):
    """The normalisation sees the output after it was changed in its place."""

    def forward(self, batch: Tensor) -> Tensor:
        """See the class."""
        changed: Tensor = self.norm(self.conv(batch).relu_())
        return changed


class Aliased(Pair):
    """Knows its parts by two names."""

    def __init__(self) -> None:
        super().__init__()
        self.parts = nn.ModuleList([self.conv, self.norm])


@pytest.mark.parametrize("build", [resnet18, mobilenet_v3_small, Pair, Branching, Aliased])
def test_the_answers_stay_and_the_normalisations_go(build: type[nn.Module]) -> None:
    module = _seen(build())
    folded = fold_batch_norms(module, _run)
    assert not has_batch_norms(folded)
    torch.testing.assert_close(_run(folded), _run(module), rtol=1e-3, atol=1e-4)


def test_the_original_is_not_changed() -> None:
    module = _seen(Pair())
    before = _run(module)
    fold_batch_norms(module, _run)
    assert has_batch_norms(module)
    assert torch.equal(_run(module), before)
    assert not module.conv._forward_hooks  # type: ignore[union-attr]  # Nobody watches it any more.


@pytest.mark.parametrize("build", [ReadTwice, Returned, CalledTwice, NormedTwice, Changed, nn.Identity])
def test_what_would_change_an_answer_is_not_folded(build: type[nn.Module]) -> None:
    with pytest.raises(VariantError, match="no batch normalisation"):
        fold_batch_norms(_seen(build()), _run)


@pytest.fixture
def serving() -> Iterator[list[Exception]]:
    """Another thread that answers all the time; the errors it met."""
    module, errors, stop, began = _seen(Pair()), [], threading.Event(), threading.Event()

    def serve() -> None:
        while not stop.is_set():
            try:
                _run(module)
            except Exception as error:  # noqa: BLE001 - whatever it is, the test shows it
                errors.append(error)
            began.set()

    thread = threading.Thread(target=serve)
    thread.start()
    assert began.wait(10)
    yield errors
    stop.set()
    thread.join()


def test_another_thread_computes_undisturbed(serving: list[Exception]) -> None:
    module = _seen(mobilenet_v3_small())
    for _ in range(3):
        fold_batch_norms(module, _run)
    assert serving == []
