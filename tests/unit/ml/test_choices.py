from typing import Any

import pytest

from ml.choices import Choice, TuningRules, Variant
from ml.errors import InvalidSpecError
from ml.spec import ModelSpec

FAST = Variant(dtype="bf16", channels_last=True)


def test_a_variant_is_named_for_people() -> None:
    assert Variant().name == "fp32"
    assert Variant(dtype="bf16", channels_last=True, fused=True).name == "bf16 channels-last fused"


def test_a_choice_survives_being_stored() -> None:
    choice = Choice(variant=FAST, batch=8)
    assert Choice.from_json(choice.to_json()) == choice


def test_a_choice_that_other_code_stored_is_refused() -> None:
    with pytest.raises(TypeError):
        Choice.from_json({"variant": {"dtype": "int8", "sparse": True}, "batch": None})


def test_what_is_forbidden_is_left_out() -> None:
    rules = TuningRules.from_config({"forbid": ["bf16"]})
    assert rules.narrow([Variant(), FAST]) == [Variant()]


def test_what_is_pinned_is_settled_for_every_candidate() -> None:
    rules = TuningRules.from_config({"pin": {"dtype": "bf16"}})
    found = rules.narrow([Variant(), Variant(channels_last=True), FAST])
    assert found == [Variant(dtype="bf16"), FAST]


@pytest.mark.parametrize(
    ("config", "allowed"),
    [
        ({}, True),
        ({"pin": {"dtype": "bf16", "batch": 8}}, True),
        ({"forbid": ["fp16", "fused"]}, True),
        ({"forbid": ["channels_last"]}, False),
        ({"pin": {"dtype": "fp32"}}, False),
        ({"pin": {"batch": 4}}, False),
    ],
)
def test_a_stored_choice_must_keep_the_rules(config: dict[str, Any], allowed: bool) -> None:
    assert TuningRules.from_config(config).allow(Choice(variant=FAST, batch=8)) is allowed


@pytest.mark.parametrize(
    ("config", "field"),
    [
        ([], "tuning"),
        ({"prefer": []}, "tuning.prefer"),
        ({"pin": ["bf16"]}, "tuning.pin"),
        ({"pin": {"dtype": "int8"}}, "tuning.pin.dtype"),
        ({"pin": {"channels_last": 1}}, "tuning.pin.channels_last"),
        ({"pin": {"batch": 0}}, "tuning.pin.batch"),
        ({"pin": {"batch": True}}, "tuning.pin.batch"),
        ({"pin": {"threads": 2}}, "tuning.pin.threads"),
        ({"forbid": "bf16"}, "tuning.forbid"),
        ({"forbid": ["fp32"]}, "tuning.forbid"),
        ({"try": ["graphs"]}, "tuning.try"),
        ({"pin": {"dtype": "bf16"}, "forbid": ["bf16"]}, "tuning.forbid"),
        ({"try": ["compile"], "forbid": ["compile"]}, "tuning.forbid"),
    ],
)
def test_a_wrong_rule_is_named(vector_config: dict[str, Any], config: object, field: str) -> None:
    with pytest.raises(InvalidSpecError) as caught:
        ModelSpec.from_config("m", 1, {**vector_config, "tuning": config})
    assert caught.value.field == field
