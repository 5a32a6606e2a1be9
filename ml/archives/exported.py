"""A program from a ``torch.export`` archive as a network like any other.

Shapes: B batch; ``...`` one item as the program was exported for.
"""

import io
from collections.abc import Iterable
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.export.passes import move_to_device_pass
from torch.export.pt2_archive._package import load_pt2
from torch.nn import functional

from ml.archives.reader import clean_archive
from ml.errors import ArchiveError

SPECIALISED_MIN = 2
"""PyTorch reports a free batch as two or more, and takes one as well."""


class ExportedModule(nn.Module):
    """Input ``[B, ...]`` of the exported shape and dtype; output whatever the program returns for it, ``[B, ...]``.

    A program that was exported for one size of batch is served all the same: a smaller batch is filled up with zeros,
    a larger one cut into pieces.

    Args:
        program: Takes one tensor and returns one.

    Raises:
        ArchiveError: The program's input is no batch of items of one shape.
    """

    def __init__(self, program: ExportedProgram) -> None:
        super().__init__()
        placeholder = _user_input(program)
        batch, *item_shape = placeholder.shape
        if not all(isinstance(size, int) for size in item_shape):
            raise ArchiveError("The program takes items of more than one shape; only the batch may vary in size.")
        self.item_shape: tuple[int, ...] = tuple(item_shape)
        self.dtype: torch.dtype = placeholder.dtype
        self.min_batch, self.max_batch = _batch_range(program, batch)
        # Its own checks of the input would be traced into every graph made of it; forward checks the same.
        self.program: nn.Module = program.module(check_guards=False)

    def train(self, mode: bool = True) -> Self:
        """Leave the program as it is: whether it trains was decided when it was exported."""
        self.training = mode
        return self

    def forward(self, batch: Tensor) -> Tensor:
        """See the class.

        Raises:
            ArchiveError: The items have another shape or type than the program was exported for.
        """
        if tuple(batch.shape[1:]) != self.item_shape or batch.dtype != self.dtype:
            raise ArchiveError(
                f"The program was exported for items {_describe(self.item_shape, self.dtype)}, the configuration gives "
                f"it {_describe(batch.shape[1:], batch.dtype)}. Change the model's input, or export it again."
            )
        count = len(batch)
        if self.max_batch is not None and count > self.max_batch:
            return torch.cat([self.forward(part) for part in torch.split(batch, self.max_batch)])
        missing = self.min_batch - count
        if missing <= 0:
            outputs: Tensor = self.program(batch)
            return outputs
        filled: Tensor = self.program(functional.pad(batch, [0, 0] * len(self.item_shape) + [0, missing]))
        return filled[:count]


def load_exported(data: bytes, device: str | torch.device = "cpu") -> ExportedModule:
    """Load an archive's program, without unpickling anything.

    Args:
        data: The bytes of a ``.pt2`` file that ``torch.export.save`` wrote.
        device: Where the program will run; its constants are put there.

    Raises:
        ArchiveError: It is damaged, holds something that is not allowed, or this version of PyTorch cannot read it.
    """
    cleaned = clean_archive(data)
    try:
        # What torch.export.load calls; itself it hides the reason when this fails.
        program = load_pt2(io.BytesIO(cleaned)).exported_programs["model"]
        _check_finite(program.state_dict.items())
        if torch.device(device).type != "cpu":
            program = move_to_device_pass(program, str(device))  # pragma: no cover - needs a GPU
        return ExportedModule(program)
    except ArchiveError:
        raise
    # The loader has no error of its own: what it does not understand ends in any of Python's, or of its libraries'.
    except Exception as error:
        reason = str(error).strip().rpartition("\n")[2][:300]
        raise ArchiveError(
            f"PyTorch {torch.__version__} cannot read the program ({type(error).__name__}: {reason}). "
            "Export it with this version of PyTorch or an older one, from 2.11 on."
        ) from error


def _user_input(program: ExportedProgram) -> Tensor:
    names = program.graph_signature.user_inputs
    values = [node.meta.get("val") for node in program.graph.nodes if node.op == "placeholder" and node.name in names]
    if len(values) != 1 or not isinstance(values[0], Tensor) or values[0].dim() < 2:
        raise ArchiveError("The program must take one tensor of two dimensions or more, the first of them the batch.")
    return values[0]


def _batch_range(program: ExportedProgram, batch: Any) -> tuple[int, int | None]:
    """Fewest and most items in one forward; None for any number."""
    if isinstance(batch, int):
        return batch, batch
    bounds = program.range_constraints.get(batch.node.expr)
    if bounds is None:
        return 1, None
    lower, upper = bounds.lower, bounds.upper
    smallest = int(lower) if lower.is_Integer and int(lower) > SPECIALISED_MIN else 1
    return smallest, int(upper) if upper.is_Integer else None


def _check_finite(tensors: Iterable[tuple[str, Tensor]]) -> None:
    for name, tensor in tensors:
        if not bool(torch.isfinite(tensor).all()):
            raise ArchiveError(f"The tensor {name} holds NaN or infinity. Train the model again.")


def _describe(shape: Iterable[int], dtype: torch.dtype) -> str:
    return f"{list(shape)} {str(dtype).removeprefix('torch.')}"
