"""The ways to run a network that ``ml.choices`` names, as modules that take and give float32 like the original.

Shapes: B batch; ``...`` the item's own shape.
"""

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from ml.choices import COMPILE, DTYPES, TuningRules, Variant
from ml.compiling import Compiled
from ml.errors import VariantError
from ml.folding import fold_batch_norms, has_batch_norms
from ml.inputs import blank_item
from ml.predictor import Predictor


def list_candidates(predictor: Predictor) -> list[Variant]:
    """The ways that may be faster for this network on this device, the plainest first and the original among them."""
    layouts = [False, True] if any(isinstance(part, nn.Conv2d) for part in predictor.module.modules()) else [False]
    foldings = [False, True] if has_batch_norms(predictor.module) else [False]
    reduced = ["bf16", "fp16"] if predictor.device.type == "cuda" else ["bf16"]
    exact = [Variant(channels_last=layout, fused=fused) for fused in foldings for layout in layouts]
    # Measured: reduced precision without the layout that its kernels are made for is never the fastest.
    fast = [Variant(dtype=dtype, channels_last=layouts[-1], fused=fused) for dtype in reduced for fused in foldings]
    return exact + fast


def list_refinements(base: Variant, predictor: Predictor, rules: TuningRules) -> list[Variant]:
    """What may make the best of the candidates faster still: replayed graphs, and compilation where it is asked for."""
    graphs = [False, True] if predictor.device.type == "cuda" else [False]
    compiled = [False, True] if COMPILE in rules.attempt else [False]
    refined = [replace(base, compile=chosen, graphs=recorded) for chosen in compiled for recorded in graphs]
    return [variant for variant in refined if variant != base]


def apply_variant(predictor: Predictor, variant: Variant, *, limit: int) -> Predictor:
    """A copy of ``predictor`` that runs its network in this way; the original is not changed.

    Args:
        predictor: Runs its network as it was written, in eval mode.
        variant: How the copy runs it.
        limit: Most items that one forward will ever have.

    Raises:
        VariantError: The network cannot be run in this way.
    """
    changed = copy.copy(predictor)
    changed.module = _build(predictor, variant, limit)
    return changed


def warm_sizes(variant: Variant, limit: int) -> list[int]:
    """Sizes of batch to run once before serving, so that none is the first of its kind under load."""
    return batch_sizes(limit) if variant.graphs else sorted({1, limit})


def batch_sizes(limit: int) -> list[int]:
    """1, 2, 4, ... and ``limit`` itself."""
    return [*(1 << power for power in range(limit.bit_length()) if 1 << power < limit), limit]


def split_for_compiler(module: nn.Module, given: Tensor) -> tuple[nn.Module, Tensor]:
    """What ``torch.compile`` would see of a module without ``compile``: the network inside, and what it is given."""
    return (module.module, module.convert(given)) if isinstance(module, Converted) else (module, given)


def _build(predictor: Predictor, variant: Variant, limit: int) -> nn.Module:
    if variant == Variant():
        return predictor.module
    # Anything may go wrong in code that is traced or converted, and all of it means that this way is closed.
    try:
        changed = _fold(predictor) if variant.fused else copy.deepcopy(predictor.module)
        memory_format = torch.channels_last if variant.channels_last else torch.contiguous_format
        dtype = getattr(torch, DTYPES[variant.dtype])
        changed = changed.to(dtype=dtype)
        if variant.channels_last:
            changed = changed.to(memory_format=torch.channels_last)
        run: Callable[[Tensor], Any] = changed
        if variant.compile:
            run = Compiled(changed)
        converted = Converted(changed, run, dtype, memory_format)
        return GraphReplay(converted, predictor.device, limit) if variant.graphs else converted
    except Exception as error:
        raise VariantError(f"{variant.name}: {type(error).__name__}: {_first_line(error)}") from error


def _fold(predictor: Predictor) -> nn.Module:
    blank = blank_item(predictor.spec.input).unsqueeze(0).to(predictor.device)

    def run(module: nn.Module) -> Tensor:
        tried = copy.copy(predictor)
        tried.module = module
        with torch.inference_mode():
            return tried.forward(blank)

    return fold_batch_norms(predictor.module, run)


class Converted(nn.Module):
    """Float32 ``[B, ...]`` in and out, another number format or memory layout inside.

    Args:
        module: Holds the weights, so that their memory is counted and moved with this module.
        run: Calls ``module``, perhaps compiled.
        dtype: Of the weights.
        memory_format: Of the input, where it has four dimensions.
    """

    def __init__(
        self, module: nn.Module, run: Callable[[Tensor], Any], dtype: torch.dtype, memory_format: torch.memory_format
    ) -> None:
        super().__init__()
        self.module = module
        self._run = run
        self._dtype = dtype
        self._memory_format = memory_format

    def convert(self, batch: Tensor) -> Tensor:
        """The input in the network's own number format and layout."""
        memory_format = self._memory_format if batch.dim() == 4 else torch.contiguous_format
        return batch.to(dtype=self._dtype, memory_format=memory_format)

    def forward(self, batch: Tensor) -> Any:
        """See the class."""
        output = self._run(self.convert(batch))
        return _map_tensors(output, lambda tensor: _finish(tensor, len(batch)))


class GraphReplay(nn.Module):  # pragma: no cover - needs a GPU
    """Records the forward of each size of batch once and replays it.

    Launching kernels one by one costs a small network more than the kernels do. A batch is padded to the next power
    of two, so that few graphs are kept; items do not see each other in eval mode.
    """

    def __init__(self, module: nn.Module, device: torch.device, limit: int) -> None:
        super().__init__()
        self.module = module
        self._device = device
        self._limit = limit
        self._recorded: dict[int, tuple[torch.cuda.CUDAGraph, Tensor, Any]] = {}
        self._pool: Any = None

    def forward(self, batch: Tensor) -> Any:
        """See the class."""
        count = len(batch)
        if count > self._limit:
            return self.module(batch)
        size = next(size for size in batch_sizes(self._limit) if size >= count)
        if size not in self._recorded:
            self._recorded[size] = self._record(batch, size)
        graph, static_input, static_output = self._recorded[size]
        static_input[:count].copy_(batch)
        graph.replay()
        # Copied, because the next replay writes to the same memory.
        return _map_tensors(static_output, lambda tensor: tensor[:count].clone())

    def _record(self, batch: Tensor, size: int) -> tuple[torch.cuda.CUDAGraph, Tensor, Any]:
        static_input = batch.new_zeros((size, *batch.shape[1:]))
        stream = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]  # The stubs leave it untyped.
        stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(stream):
            # Libraries choose kernels and take workspaces in their first runs, which must not be recorded.
            for _ in range(3):
                self.module(static_input)
        torch.cuda.current_stream(self._device).wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        # Other threads may decode on the device meanwhile; only what this thread does is recorded.
        with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
            static_output = self.module(static_input)
        self._pool = self._pool or graph.pool()
        return graph, static_input, static_output


def _finish(tensor: Tensor, count: int) -> Tensor:
    """Float32 rows of the batch, without those that it was padded with."""
    return tensor[:count].float() if tensor.is_floating_point() else tensor[:count]


def _map_tensors(output: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """Networks answer with a tensor, or with tensors by name or in order."""
    if isinstance(output, Tensor):
        return change(output)
    if isinstance(output, dict):
        return {name: _map_tensors(member, change) for name, member in output.items()}
    return type(output)(_map_tensors(member, change) for member in output)


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
