import math
from typing import Any

import pytest
import torch
from PIL import Image

from ml.errors import InvalidInputError
from ml.inputs import Decoder, blank_item, build_decoder
from ml.spec import ModelSpec
from tests.unit.ml.conftest import EncodeImage


@pytest.fixture
def vectors(vector_spec: ModelSpec) -> Decoder:
    return build_decoder(vector_spec.input)


@pytest.fixture
def images(image_spec: ModelSpec) -> Decoder:
    return build_decoder(image_spec.input)


def test_a_vector_becomes_float32(vectors: Decoder) -> None:
    decoded = vectors.decode([0, 1.5])
    assert decoded.dtype == torch.float32
    assert decoded.tolist() == [0.0, 1.5]


@pytest.mark.parametrize(
    ("payload", "field", "detail"),
    [
        ([1.0], "input", "Expected 2 numbers, got 1"),
        ([], "input", "Expected 2 numbers, got 0"),
        ([1.0, 2.0, 3.0], "input", "Expected 2 numbers, got 3"),
        ([1.0, math.nan], "input[1]", "finite"),
        ([math.inf, 1.0], "input[0]", "finite"),
        ([1e300, 1.0], "input[0]", "finite"),
        ([10**400, 1.0], "input[0]", "finite"),
        ([1.0, "2"], "input[1]", "number"),
        ([1.0, None], "input[1]", "number"),
        ([True, 1.0], "input[0]", "number"),
        ([1.0, [2.0]], "input[1]", "number"),
        ("12", "input", "list of 2 numbers"),
        (b"12", "input", "list of 2 numbers"),
        (None, "input", "list of 2 numbers"),
        ({"a": 1}, "input", "list of 2 numbers"),
    ],
)
def test_a_bad_vector_is_refused_alone_and_in_a_batch(vectors: Decoder, payload: Any, field: str, detail: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        vectors.decode(payload)
    assert caught.value.field == field
    assert detail in caught.value.detail
    good, bad = vectors.decode_batch([[1.0, 0.0], payload])
    assert isinstance(good, torch.Tensor)
    assert good.tolist() == [1.0, 0.0]
    assert str(bad) == str(caught.value)


def test_a_batch_of_vectors_equals_each_alone(vectors: Decoder) -> None:
    payloads = [[0.1, 2], [3.0, -4.5], (5, 6)]
    for together, alone in zip(vectors.decode_batch(payloads), map(vectors.decode, payloads), strict=True):
        assert isinstance(together, torch.Tensor)
        assert torch.equal(together, alone)


def test_an_empty_batch_of_vectors_is_empty(vectors: Decoder) -> None:
    assert vectors.decode_batch([]) == []


def test_an_image_becomes_a_gray_square_of_bytes(images: Decoder, encode_image: EncodeImage) -> None:
    decoded = images.decode(encode_image(Image.new("RGB", (100, 80), "white")))
    assert decoded.shape == (1, 28, 28)
    assert decoded.dtype == torch.uint8


def test_numbers_for_an_image_model_are_refused(images: Decoder) -> None:
    with pytest.raises(InvalidInputError, match="takes an image file"):
        images.decode([1.0, 2.0])


def test_a_bad_image_in_a_batch_leaves_its_error_in_its_place(images: Decoder, encode_image: EncodeImage) -> None:
    bad, good = images.decode_batch([b"no image", encode_image(Image.new("L", (30, 30)))])
    assert isinstance(bad, InvalidInputError)
    assert isinstance(good, torch.Tensor)
    assert good.shape == (1, 28, 28)


def test_a_blank_image_looks_like_a_decoded_one(
    images: Decoder, image_spec: ModelSpec, encode_image: EncodeImage
) -> None:
    decoded, blank = images.decode(encode_image(Image.new("L", (30, 30)))), blank_item(image_spec.input)
    assert (blank.shape, blank.dtype) == (decoded.shape, decoded.dtype)


def test_a_blank_vector_looks_like_a_decoded_one(vectors: Decoder, vector_spec: ModelSpec) -> None:
    decoded, blank = vectors.decode([0, 0]), blank_item(vector_spec.input)
    assert (blank.shape, blank.dtype) == (decoded.shape, decoded.dtype)
