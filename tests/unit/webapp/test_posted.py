from collections.abc import Callable
from typing import Any

import pytest
import safetensors.torch
import torch

from store.models import ServedVersion
from webapp.errors import InvalidInputError
from webapp.posted import MAX_ROWS, pack_json, pack_safetensors

ROWS = [[0, 0], [0, 1], [1, 0], [1, 1]]
ANSWERS = [0, 1, 1, 0]

Change = Callable[[list[Any], list[Any]], object]


def version(**changes: Any) -> ServedVersion:
    config = {"input": {"type": "vector", "size": 2}, "labels": ["no", "yes"], **changes.pop("config", {})}
    fields: dict[str, Any] = {"kind": "classification", "config": config, **changes}
    return ServedVersion(model_id=1, model_version_id=1, model="tiny", number=1, weights_sha256="", **fields)


PRICE = version(kind="regression", config={"labels": [], "kind_options": {"transform": "log"}})


def test_rows_become_the_tensors_that_a_training_reads() -> None:
    packed, rows = pack_json(ROWS, ANSWERS, version())

    tensors = safetensors.torch.load(packed)
    assert rows == 4
    assert torch.equal(tensors["inputs"], torch.tensor(ROWS, dtype=torch.float32))
    assert torch.equal(tensors["targets"], torch.tensor(ANSWERS))


def test_labels_may_be_named() -> None:
    packed, _ = pack_json(ROWS, ["no", "yes", "yes", "no"], version())

    assert safetensors.torch.load(packed)["targets"].tolist() == ANSWERS


def test_values_of_a_regression_stay_numbers() -> None:
    packed, _ = pack_json(ROWS, [1, 2.5, 3, 4], PRICE)

    assert safetensors.torch.load(packed)["targets"].tolist() == [1, 2.5, 3, 4]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int64, torch.int32, torch.uint8])
def test_a_safetensors_file_is_packed_the_same(dtype: torch.dtype) -> None:
    tensors = {"inputs": torch.tensor(ROWS, dtype=dtype), "targets": torch.tensor(ANSWERS)}

    assert pack_safetensors(safetensors.torch.save(tensors), version()) == pack_json(ROWS, ANSWERS, version())


@pytest.mark.parametrize(
    ("inputs", "targets", "field", "detail"),
    [
        (None, ANSWERS, "inputs", "belong together"),
        (ROWS, None, "targets", "belong together"),
        ([*ROWS[:3], [1, 1, 1]], ANSWERS, "inputs.3", "a list of 2 numbers"),
        ([*ROWS[:3], [1, float("nan")]], ANSWERS, "inputs.3.1", "finite"),
        ([*ROWS[:3], [1, 1e300]], ANSWERS, "inputs.3.1", "finite"),
        ([*ROWS[:3], [1, 10**400]], ANSWERS, "inputs.3.1", "finite"),
        ([*ROWS[:3], [1, True]], ANSWERS, "inputs.3.1", "finite"),
        ([*ROWS[:3], [1, "1"]], ANSWERS, "inputs.3.1", "finite"),
        (ROWS, ANSWERS[:3], "targets", "3 entries for 4 rows"),
        (ROWS, [0, 0, 0, 0], "targets", "one label alone"),
        (ROWS, [0, 1, 2, 0], "targets.2", "none of the 2 labels"),
        (ROWS, [0, 1, "maybe", 0], "targets.2", "none of the 2 labels"),
        (ROWS, [0, 1, True, 0], "targets.2", "none of the 2 labels"),
        (ROWS, [0, 1, 1.0, 0], "targets.2", "none of the 2 labels"),
        (ROWS[:1], [0], "inputs", "has 1 rows"),
        ([[0, 0]] * (MAX_ROWS + 1), [0] * (MAX_ROWS + 1), "inputs", "rows"),
    ],
)
def test_what_cannot_be_trained_on_is_refused_by_its_place(inputs: Any, targets: Any, field: str, detail: str) -> None:
    with pytest.raises(InvalidInputError, match=detail) as caught:
        pack_json(inputs, targets, version())
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("targets", "field", "detail"),
    [
        ([1, 2, 0, 3], "targets.2", "above 0"),
        ([1, 1, 1, 1], "targets", "one value"),
        ([1, "2", 3, 4], "targets.1", "f"),
    ],
)
def test_values_that_cannot_be_learned_are_refused(targets: list[Any], field: str, detail: str) -> None:
    with pytest.raises(InvalidInputError, match=detail) as caught:
        pack_json(ROWS, targets, PRICE)
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("tensors", "field"),
    [
        ({"inputs": torch.zeros(4, 2)}, "targets"),
        ({"inputs": torch.zeros(4, 3), "targets": torch.tensor(ANSWERS)}, "inputs"),
        ({"inputs": torch.zeros(4, 2, 1), "targets": torch.tensor(ANSWERS)}, "inputs"),
        ({"inputs": torch.zeros(4, 2), "targets": torch.zeros(4, 1)}, "targets"),
        ({"inputs": torch.zeros(4, 2), "targets": torch.zeros(4)}, "targets"),
        ({"inputs": torch.zeros(4, 2, dtype=torch.float16), "targets": torch.tensor(ANSWERS)}, "inputs"),
        ({"inputs": torch.full((4, 2), float("inf")), "targets": torch.tensor(ANSWERS)}, "inputs.0.0"),
    ],
)
def test_tensors_of_another_form_are_refused(tensors: dict[str, torch.Tensor], field: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        pack_safetensors(safetensors.torch.save(tensors), version())
    assert caught.value.field == field


@pytest.mark.parametrize("data", [b"", b"\x80\x04pickle", b"PK\x03\x04", b"\xff" * 64])
def test_a_file_that_is_no_safetensors_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidInputError, match="no safetensors"):
        pack_safetensors(data, version())


@pytest.mark.parametrize(
    "other", [version(kind="similarity"), version(config={"input": {"type": "image", "size": 28}})]
)
def test_models_that_take_no_vectors_are_refused(other: ServedVersion) -> None:
    with pytest.raises(InvalidInputError, match="data can be posted to models"):
        pack_json(ROWS, ANSWERS, other)
