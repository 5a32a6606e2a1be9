"""`schemas.gate_settings`: what a candidate must prove."""

import pytest
from marshmallow import ValidationError

from schemas.enums import GatePolicy
from schemas.gate_settings import EXAMPLE, GateSettings, GateSettingsSchema
from schemas.model_settings import ModelSettings, ModelSettingsSchema


def test_the_example_tells_the_defaults() -> None:
    assert GateSettingsSchema().load({}) == GateSettingsSchema().load(EXAMPLE)
    assert GateSettings.load(EXAMPLE) == GateSettings()


def test_settings_survive_being_stored() -> None:
    settings = ModelSettings(gate=GateSettings(policy=GatePolicy.AUTO, max_loss=0.05))

    assert ModelSettings.load(settings.dump()) == settings


def test_a_model_that_says_nothing_has_the_default_gate() -> None:
    assert ModelSettings.load(ModelSettingsSchema().load({})).gate == GateSettings()


@pytest.mark.parametrize("field", [{"confidence": 1.5}, {"max_latency_ratio": 0.5}, {"policy": "never"}])
def test_settings_that_mean_nothing_are_refused(field: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        GateSettingsSchema().load(field)
