"""Whether ``torch.compile`` works for a network on this machine, found out in a process that can be stopped.

A compilation cannot be broken off from within, may take minutes, and may crash on a machine whose compiler is broken.
What the child compiles stays in the compiler's cache on disk, so that the caller's own compilation is a short one.
"""

import copy
import multiprocessing
import pickle
from multiprocessing.connection import Connection
from typing import Any

import torch
from torch import Tensor, nn

from ml.errors import VariantError

COMPILE_LIMIT_S = 90.0
"""Longest compilation that tuning waits for; measured for resnet18 on two shared cores: 32 s."""

SMALLEST_BATCH = 2
"""torch.compile makes other kernels for a batch of one; padding it to two spares that second compilation."""

_STOP_S = 5.0


class Compiled:
    """Calls a network through ``torch.compile``; only the number of items may change from call to call."""

    def __init__(self, module: nn.Module) -> None:
        self._run = torch.compile(module)

    def __call__(self, batch: Tensor) -> Any:
        """``[B, ...]`` -> outputs whose first rows are those of the batch."""
        if len(batch) < SMALLEST_BATCH:
            batch = torch.cat([batch] * SMALLEST_BATCH)
        # All else may be built into the kernels.
        torch._dynamo.mark_dynamic(batch, 0)  # noqa: SLF001 - the documented name of it
        return self._run(batch)


def check_compiles(module: nn.Module, batch: Tensor, *, limit_s: float = COMPILE_LIMIT_S) -> None:
    """Compile ``module`` for ``batch`` in a child process.

    Args:
        module: Takes a batch as the compiled module will.
        batch: ``[B, ...]`` on the device that the network is on.
        limit_s: The child is killed after so long.

    Raises:
        VariantError: It took longer, failed, or crashed; the message says which.
    """
    context = multiprocessing.get_context("spawn")
    receiving, sending = context.Pipe(duplex=False)
    # As bytes: torch would hand tensors over in shared memory, of which a container has little.
    packed = pickle.dumps((copy.deepcopy(module).cpu(), batch.cpu()))
    arguments = (sending, packed, str(batch.device), torch.get_num_threads())
    child = context.Process(target=_compile, args=arguments, daemon=True)
    child.start()
    sending.close()
    try:
        problem = _wait(receiving, limit_s)
    finally:
        child.kill()
        child.join(_STOP_S)
        receiving.close()
    if problem:
        raise VariantError(problem)


def _wait(receiving: Connection, limit_s: float) -> str:
    if not receiving.poll(limit_s):
        return f"torch.compile took longer than {limit_s:.0f} s"
    try:
        return str(receiving.recv())
    except EOFError:
        return "torch.compile crashed its process"


def _compile(sending: Connection, packed: bytes, device: str, threads: int) -> None:
    torch.set_num_threads(threads)
    # Whatever fails here is the answer that the parent waits for.
    try:
        # Packed by our own parent, a moment ago.
        module, batch = pickle.loads(packed)  # noqa: S301
        with torch.inference_mode():
            Compiled(module.to(device))(batch.to(device))
    except Exception as error:  # noqa: BLE001
        sending.send(f"torch.compile failed: {type(error).__name__}: {str(error).strip().partition(chr(10))[0]}")
        return
    sending.send("")
