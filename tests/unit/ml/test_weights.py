import pickle
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import nn

from ml.errors import WeightsError
from ml.weights import (
    dump_weights,
    load_weights,
    save_weights,
    sha256_hex,
    verify_checksum,
)


def _module() -> nn.Sequential:
    return nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))


def _changed(module: nn.Module, **changes: torch.Tensor | None) -> bytes:
    tensors = {**module.state_dict(), **changes}
    return safetensors.torch.save({name: tensor for name, tensor in tensors.items() if tensor is not None})


def test_weights_come_back_as_they_were_saved(tmp_path: Path) -> None:
    module, other = _module(), _module()
    save_weights(module, tmp_path / "w.safetensors")
    load_weights(other, (tmp_path / "w.safetensors").read_bytes())
    for name, tensor in module.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[name])


def test_saving_leaves_no_partial_file(tmp_path: Path) -> None:
    save_weights(_module(), tmp_path / "w.safetensors")
    assert [path.name for path in tmp_path.iterdir()] == ["w.safetensors"]


def test_a_checksum_is_sha256_in_hexadecimal() -> None:
    assert sha256_hex(b"") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_a_right_checksum_passes() -> None:
    verify_checksum(b"abc", sha256_hex(b"abc"))


def test_a_wrong_checksum_is_refused() -> None:
    with pytest.raises(WeightsError, match="Copy or import them again"):
        verify_checksum(b"abd", sha256_hex(b"abc"))


def test_the_same_weights_have_the_same_checksum() -> None:
    module = _module()
    assert dump_weights(module) == dump_weights(module)


@pytest.mark.parametrize("data", [b"", b"nonsense", pickle.dumps({"0.weight": 1})])
def test_what_is_not_safetensors_is_refused(data: bytes) -> None:
    with pytest.raises(WeightsError, match="not safetensors"):
        load_weights(_module(), data)


def test_a_missing_tensor_is_named() -> None:
    module = _module()
    with pytest.raises(WeightsError, match=r"missing 0\.bias, unknown none"):
        load_weights(module, _changed(module, **{"0.bias": None}))


def test_an_unknown_tensor_is_named() -> None:
    module = _module()
    with pytest.raises(WeightsError, match="missing none, unknown extra"):
        load_weights(module, _changed(module, extra=torch.zeros(1)))


def test_many_wrong_tensors_are_counted() -> None:
    with pytest.raises(WeightsError, match=r"and \d+ more"):
        load_weights(_module(), safetensors.torch.save({"x": torch.zeros(1)}))


def test_a_tensor_of_another_shape_is_named() -> None:
    module = _module()
    with pytest.raises(WeightsError, match=r"0\.bias has shape \[4\], expected \[3\]"):
        load_weights(module, _changed(module, **{"0.bias": torch.zeros(4)}))


def test_the_first_of_several_tensors_is_named_in_the_order_of_the_network() -> None:
    # The file is read in no order of its own: eight names would come out right by chance once in eight times.
    module = nn.Sequential(*(nn.Linear(2, 3) for _ in range(4)))
    wrong = {name: torch.zeros(7) for name in module.state_dict()}
    for _ in range(8):
        with pytest.raises(WeightsError, match=r"0\.weight has shape \[7\]"):
            load_weights(module, _changed(module, **wrong))


def test_a_tensor_of_another_type_is_named() -> None:
    module = _module()
    with pytest.raises(WeightsError, match=r"0\.bias has type torch\.float64"):
        load_weights(module, _changed(module, **{"0.bias": torch.zeros(3, dtype=torch.float64)}))


def test_a_tensor_that_is_not_finite_is_named() -> None:
    module = _module()
    with pytest.raises(WeightsError, match=r"0\.bias holds NaN"):
        load_weights(module, _changed(module, **{"0.bias": torch.full((3,), float("nan"))}))
