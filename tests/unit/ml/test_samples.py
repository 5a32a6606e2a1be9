"""`ml.samples`: the real inputs that answers are judged by."""

from typing import Any

import pytest
import torch

from ml.bundles import BUNDLED_DIRECTORY, read_bundle
from ml.errors import InvalidSpecError
from ml.kinds import build_untrained
from ml.predictor import Predictor
from ml.samples import MADE_UP, PHOTOS, SHIPPED, STORED, WANTED, collect_samples
from ml.spec import ModelSpec


@pytest.fixture
def vectors(vector_spec: ModelSpec) -> Predictor:
    return build_untrained(vector_spec, "cpu")


def test_recent_inputs_come_first(vectors: Predictor) -> None:
    found = collect_samples(vectors, [[float(index), 0.0] for index in range(40)])
    assert (len(found.items), found.source, found.real) == (WANTED, STORED, True)
    assert torch.equal(found.items[1], torch.tensor([1.0, 0.0]))


def test_recent_inputs_that_fit_no_more_are_left_out(vectors: Predictor) -> None:
    found = collect_samples(vectors, [[1.0, 0.0, 0.0], [1.0, 0.0]])
    assert (len(found.items), found.source) == (1, STORED)


def test_a_photo_model_has_real_photos_from_the_start(fashion: Predictor) -> None:
    found = collect_samples(fashion)
    assert (len(found.items), found.source) == (WANTED, PHOTOS)
    assert torch.equal(found.items[0].flip(-1), found.items[WANTED // 2])


@pytest.mark.parametrize(("preparation", "channels"), [("photo", 3), ("photo", 1), ("garment", 1)])
def test_every_photo_can_be_decoded(image_config: dict[str, Any], preparation: str, channels: int) -> None:
    image = {"type": "image", "size": 28, "channels": channels, "preparation": preparation}
    spec = ModelSpec.from_config("m", 1, {**image_config, "input": image})
    assert len(collect_samples(build_untrained(spec, "cpu")).items) == WANTED


def test_the_samples_of_the_configuration_are_used() -> None:
    found = collect_samples(read_bundle(BUNDLED_DIRECTORY / "xor").build())
    assert (len(found.items), found.source, found.real) == (12, SHIPPED, True)


def test_a_few_recent_inputs_are_filled_up() -> None:
    found = collect_samples(read_bundle(BUNDLED_DIRECTORY / "xor").build(), [[0.5, 0.5]])
    assert (len(found.items), found.source) == (13, f"{STORED} and {SHIPPED}")


def test_a_sample_that_is_no_input_is_named(vector_config: dict[str, Any]) -> None:
    spec = ModelSpec.from_config("m", 1, {**vector_config, "samples": [[0, 1], [0, 1, 2]]})
    with pytest.raises(InvalidSpecError) as caught:
        collect_samples(build_untrained(spec, "cpu"))
    assert caught.value.field == "samples[1]"


def test_without_any_input_numbers_are_made_up_and_said_to_be(vectors: Predictor) -> None:
    found = collect_samples(vectors)
    assert (len(found.items), found.source, found.real) == (WANTED, MADE_UP, False)
