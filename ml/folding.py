"""Folds every batch normalisation into the convolution whose output it normalises: one operation instead of two.

Which follows which is found by running the network once and watching, in the calling thread alone. Tracing with
``torch.fx`` would find it too, but replaces ``nn.Module.__call__`` for the whole process meanwhile: forwards in other
threads fail then (torch 2.15).
"""

import copy
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from ml.errors import VariantError

_CONVOLUTIONS: tuple[type[nn.Module], ...] = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_NORMS: tuple[type[nn.Module], ...] = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def has_batch_norms(module: nn.Module) -> bool:
    """Whether there may be something to fold."""
    return any(isinstance(each, _NORMS) for each in module.modules())


def fold_batch_norms(module: nn.Module, run: Callable[[nn.Module], Any]) -> nn.Module:
    """A copy of ``module`` without the batch normalisations that follow a convolution of their own.

    Args:
        module: In eval mode; not changed.
        run: Calls the module that it is given, with any input that fits.

    Raises:
        VariantError: Nothing can be folded.
    """
    folded = copy.deepcopy(module)
    pairs = _find_pairs(folded, run)
    if not pairs:
        raise VariantError("no batch normalisation follows a convolution of its own")
    replacements: dict[nn.Module, nn.Module] = {}
    for norm, convolution in pairs:
        replacements[convolution] = fuse_conv_bn_eval(convolution, norm)
        replacements[norm] = nn.Identity()
    # All names of each: a network may know a part of itself by several.
    for name, part in list(folded.named_modules(remove_duplicate=False)):
        if part in replacements:
            folded.set_submodule(name, replacements[part])
    return folded


def _find_pairs(module: nn.Module, run: Callable[[nn.Module], Any]) -> list[tuple[Any, Any]]:
    """Normalisations with the convolutions that they alone read the output of, where each is called once."""
    watch = _Watch()
    hooks = list(watch.hook(module))
    try:
        with watch:
            answer = run(module)
    finally:
        for hook in hooks:
            hook.remove()
    watch.note_readers(None, pytree.tree_leaves(answer))
    return [
        (reader, convolution)
        for convolution, outputs in watch.outputs.items()
        if len(outputs) == 1
        for reader in watch.readers[id(outputs[0])][:1]
        if reader is not None and len(watch.readers[id(outputs[0])]) == 1 and watch.calls[reader] == 1
    ]


class _Watch(TorchFunctionMode):
    """Notes which tensors the convolutions of a network made, and who read them.

    A mode holds for the thread that entered it, so that other threads compute undisturbed.
    """

    def __init__(self) -> None:
        super().__init__()
        #: What each convolution returned. Holding it keeps its identity from being given to another tensor.
        self.outputs: dict[nn.Module, list[Tensor]] = defaultdict(list)
        #: Who read a tensor, by its identity: a normalisation, or None for anything else.
        self.readers: dict[int, list[nn.Module | None]] = defaultdict(list)
        self.calls: dict[nn.Module, int] = defaultdict(int)
        self._inside: nn.Module | None = None

    def hook(self, module: nn.Module) -> Iterator[Any]:
        """Watch all parts of a network; the hooks are removed by the caller."""
        for part in module.modules():
            if isinstance(part, _CONVOLUTIONS):
                yield part.register_forward_hook(self._note_output)
            elif isinstance(part, _NORMS):
                yield part.register_forward_pre_hook(self._enter)
                yield part.register_forward_hook(self._leave)

    def note_readers(self, reader: nn.Module | None, values: Iterable[Any]) -> None:
        """Note who was given these values."""
        for value in values:
            if isinstance(value, Tensor):
                self.readers[id(value)].append(reader)

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        # What a normalisation does with its input, such as asking for its shape, is its own reading, noted already.
        if self._inside is None:
            self.note_readers(None, pytree.tree_leaves((args, kwargs)))
        return func(*args, **(kwargs or {}))

    def _note_output(self, part: nn.Module, _given: Any, output: Tensor) -> None:
        self.outputs[part].append(output)
        # Whatever had this identity before is gone.
        self.readers[id(output)] = []

    def _enter(self, norm: nn.Module, given: tuple[Any, ...]) -> None:
        self.calls[norm] += 1
        self.note_readers(norm, given)
        self._inside = norm

    def _leave(self, _norm: nn.Module, _given: Any, _output: Any) -> None:
        self._inside = None
