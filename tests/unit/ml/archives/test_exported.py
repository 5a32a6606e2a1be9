from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim

from ml.archives.exported import load_exported
from ml.errors import ArchiveError
from tests.unit.ml.archives.conftest import Rewrite, export, make_module, save

ITEMS = torch.rand(7, 3, 8, 8, generator=torch.Generator().manual_seed(0))


class TwoArguments(nn.Module):
    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        return first + second


class TwoOutputs(nn.Module):
    def forward(self, batch: Tensor) -> tuple[Tensor, Tensor]:
        return batch, batch + 1


@pytest.mark.parametrize("batch", [None, Dim("batch", min=1, max=64), Dim("batch", min=4, max=6), 1, 5])
@pytest.mark.parametrize("count", [1, 4, 7])
def test_a_program_gives_what_the_network_gives_for_a_batch_of_any_size(batch: Dim | int | None, count: int) -> None:
    exported = load_exported(export(make_module(), batch=batch))
    with torch.inference_mode():
        torch.testing.assert_close(exported(ITEMS[:count]), make_module()(ITEMS[:count]), rtol=1e-5, atol=1e-6)


def test_a_program_tells_what_it_takes() -> None:
    exported = load_exported(export(make_module(), batch=Dim("batch", min=4, max=6)))
    assert (exported.item_shape, exported.dtype) == ((3, 8, 8), torch.float32)
    assert (exported.min_batch, exported.max_batch) == (4, 6)


def test_a_free_batch_has_no_bounds(archive: bytes) -> None:
    exported = load_exported(archive)
    assert (exported.min_batch, exported.max_batch) == (1, None)


@pytest.mark.parametrize("items", [torch.rand(1, 3, 9, 9), torch.rand(1, 3, 8, 8, dtype=torch.float64)])
def test_items_of_another_shape_or_type_are_refused_with_both(archive: bytes, items: Tensor) -> None:
    with pytest.raises(ArchiveError, match=r"exported for items \[3, 8, 8\] float32, the configuration gives it "):
        load_exported(archive)(items)


def test_a_program_can_be_copied_and_put_into_evaluation(archive: bytes) -> None:
    exported = deepcopy(load_exported(archive)).eval()
    assert exported.training is False
    assert exported(ITEMS).shape == (7, 3)


def test_a_program_with_two_arguments_is_refused() -> None:
    program = torch.export.export(TwoArguments(), (ITEMS, ITEMS))
    with pytest.raises(ArchiveError, match="one tensor as its only argument"):
        load_exported(save(program))


def test_a_program_with_two_outputs_is_refused() -> None:
    with pytest.raises(ArchiveError, match="return one tensor"):
        load_exported(export(TwoOutputs()))


def test_a_program_for_items_of_any_size_is_refused() -> None:
    shapes = ({0: Dim.DYNAMIC, 2: Dim.DYNAMIC},)
    program = torch.export.export(make_module(), (torch.rand(5, 3, 9, 8),), dynamic_shapes=shapes)
    with pytest.raises(ArchiveError, match="only the batch may vary"):
        load_exported(save(program))


def test_a_program_without_a_batch_is_refused() -> None:
    with pytest.raises(ArchiveError, match="two dimensions or more"):
        load_exported(export(nn.ReLU(), batch=3, example=torch.rand(3)))


def test_weights_that_are_not_finite_are_named() -> None:
    module = make_module()
    nn.init.constant_(module.get_parameter("0.bias"), float("nan"))
    with pytest.raises(ArchiveError, match=r"0\.bias holds NaN"):
        load_exported(export(module))


def test_a_program_of_a_later_format_is_refused_with_both_versions(rewrite: Rewrite) -> None:
    later = rewrite(edit=lambda program: program["schema_version"].update(major=99))
    with pytest.raises(
        ArchiveError, match=rf"PyTorch {torch.__version__.split('+')[0]}.* cannot read .*Export it with"
    ):
        load_exported(later)


def test_a_program_whose_graph_is_broken_is_refused(rewrite: Rewrite) -> None:
    broken = rewrite(edit=lambda program: program["graph_module"]["graph"]["nodes"].pop(0))
    with pytest.raises(ArchiveError, match="cannot read the program"):
        load_exported(broken)
