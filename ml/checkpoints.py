"""Where a training left off: everything that the next epoch depends on, in a file that is never unpickled blindly."""

import pickle
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

State = dict[str, Any]
"""Tensors, numbers, strings and containers of them; see ``ml.loop``."""


class Checkpoints(ABC):
    """Keeps the latest state of one training."""

    @abstractmethod
    def load(self) -> State | None:
        """The state that was saved last; None for a training that begins."""

    @abstractmethod
    def save(self, epoch: int, state: State) -> None:
        """Keep the state after an epoch, in place of the one before; returns when it is safe."""


class FolderCheckpoints(Checkpoints):
    """One file in a folder; a reader sees the whole old or the whole new one.

    Args:
        folder: Where.
        on_saved: Called with the epoch and the file, and may wait until it is somewhere safer.
    """

    NAME = "checkpoint.pt"

    def __init__(self, folder: Path, on_saved: Callable[[int, Path], None] = lambda _epoch, _path: None) -> None:
        self._path = folder / self.NAME
        self._on_saved = on_saved

    def load(self) -> State | None:
        """See ``Checkpoints``; a file that cannot be read counts as none, since beginning anew is always right."""
        if not self._path.exists():
            return None
        try:
            # Tensors and plain containers only: nothing in the file can run.
            state: State = torch.load(self._path, map_location="cpu", weights_only=True)
        except (OSError, RuntimeError, ValueError, EOFError, pickle.UnpicklingError, zipfile.BadZipFile):
            return None
        return state

    def save(self, epoch: int, state: State) -> None:
        """See ``Checkpoints``."""
        partial = self._path.with_suffix(".partial")
        torch.save(state, partial)
        partial.replace(self._path)
        self._on_saved(epoch, self._path)
