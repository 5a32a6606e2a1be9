"""`schemas.model_settings`: where a model runs and what is remembered of it."""

import pytest
from marshmallow import ValidationError

from schemas.model_settings import MEBIBYTE, MOST_CACHE_BYTES, ModelSettings, ModelSettingsSchema


@pytest.mark.parametrize("max_bytes", [MEBIBYTE, MOST_CACHE_BYTES])
def test_a_cache_has_its_bound(max_bytes: int) -> None:
    settings = ModelSettings.load(ModelSettingsSchema().load({"cache": {"ttl_s": 1, "max_bytes": max_bytes}}))

    assert settings.cache is not None
    assert settings.cache.max_bytes == max_bytes


@pytest.mark.parametrize("max_bytes", [MEBIBYTE - 1, MOST_CACHE_BYTES + 1, 10**22])
def test_a_cache_of_no_possible_size_is_refused(max_bytes: int) -> None:
    with pytest.raises(ValidationError, match="max_bytes"):
        ModelSettingsSchema().load({"cache": {"ttl_s": 1, "max_bytes": max_bytes}})
