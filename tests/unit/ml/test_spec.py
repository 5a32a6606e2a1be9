from typing import Any

import pytest

from ml.errors import InvalidSpecError
from ml.spec import ModelSpec


def test_a_configuration_is_read(image_config: dict[str, Any]) -> None:
    spec = ModelSpec.from_config("fashion", 3, image_config)
    assert (spec.name, spec.version, spec.kind, spec.arch) == ("fashion", 3, "classification", "fashion-cnn")
    assert (spec.input.type, spec.input.size, spec.input.channels) == ("image", 28, 1)
    assert spec.labels == ("Sandal", "Sneaker", "Bag")
    assert (spec.max_batch, spec.max_batch_cost) == (4, None)
    assert ModelSpec.from_config("fashion", 3, {**image_config, "max_batch_cost": 10**7}).max_batch_cost == 10**7


def test_what_a_configuration_leaves_out_has_defaults() -> None:
    spec = ModelSpec.from_config("m", 1, {"kind": "k", "arch": "a", "input": {"type": "image", "size": 9}})
    assert (spec.arch_options, spec.labels, spec.max_batch) == ({}, (), 64)
    assert (spec.input.channels, spec.input.preparation, spec.input.mean) == (3, "photo", (0.0, 0.0, 0.0))


def test_a_record_counts_its_fields(record_config: dict[str, Any]) -> None:
    spec = ModelSpec.from_config("m", 1, record_config)
    assert (spec.input.type, spec.input.size) == ("record", 2)
    assert [field.name for field in spec.input.fields] == ["carat", "cut"]


def test_unknown_keys_are_left_alone(vector_config: dict[str, Any]) -> None:
    assert ModelSpec.from_config("m", 1, {**vector_config, "sha256": "ab", "metrics": {}}).kind == "classification"


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"kind": None}, "kind"),
        ({"arch": 5}, "arch"),
        ({"arch_options": []}, "arch_options"),
        ({"input": None}, "input"),
        ({"input": "image"}, "input"),
        ({"input": {"size": 28}}, "input.type"),
        ({"input": {"type": "sound", "size": 28}}, "input.type"),
        ({"input": {"type": "image"}}, "input.size"),
        ({"input": {"type": "image", "size": "28"}}, "input.size"),
        ({"input": {"type": "image", "size": 0}}, "input.size"),
        ({"input": {"type": "image", "size": True}}, "input.size"),
        ({"input": {"type": "image", "size": 28, "channels": 2}}, "input.channels"),
        ({"input": {"type": "image", "size": 28, "channels": 3, "mean": [0.5]}}, "input.mean"),
        ({"input": {"type": "image", "size": 28, "channels": 1, "std": [0]}}, "input.std"),
        ({"input": {"type": "image", "size": 28, "channels": 1, "std": "1"}}, "input.std"),
        ({"input": {"type": "record"}}, "input.fields"),
        ({"input": {"type": "record", "fields": [{"name": "n", "type": "text"}]}}, "input.fields[0].type"),
        ({"kind_options": []}, "kind_options"),
        ({"labels": "ab"}, "labels"),
        ({"labels": [1, 2]}, "labels"),
        ({"labels": ["a", "a"]}, "labels"),
        ({"max_batch": 0}, "max_batch"),
        ({"max_batch": 1.5}, "max_batch"),
        ({"max_batch_cost": 0}, "max_batch_cost"),
        ({"max_batch_cost": "12 MB"}, "max_batch_cost"),
        ({"max_batch_cost": None}, "max_batch_cost"),
    ],
)
def test_a_wrong_field_is_named(vector_config: dict[str, Any], change: dict[str, object], field: str) -> None:
    with pytest.raises(InvalidSpecError) as caught:
        ModelSpec.from_config("m", 1, {**vector_config, **change})
    assert caught.value.field == field
    assert str(caught.value).startswith(f"{field}: ")
