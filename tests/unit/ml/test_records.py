from typing import Any

import pytest
import torch

from ml.errors import InvalidInputError
from ml.inputs import Decoder, blank_item, build_decoder
from ml.spec import ModelSpec

GOOD = {"carat": 0.7, "cut": "Ideal"}


@pytest.fixture
def records(record_spec: ModelSpec) -> Decoder:
    return build_decoder(record_spec.input)


def test_a_record_becomes_float32_in_the_order_of_its_fields(records: Decoder) -> None:
    decoded = records.decode({"cut": "Ideal", "carat": 0.5})
    assert decoded.dtype == torch.float32
    assert decoded.tolist() == [0.5, 1.0]


@pytest.mark.parametrize(
    ("payload", "field", "detail"),
    [
        ({"carat": 0.7}, "input.cut", "Is missing; it must be one of: Fair, Ideal."),
        ({**GOOD, "colour": "E"}, "input.colour", "Is unknown; the fields are carat, cut."),
        ({**GOOD, "cut": "Excellent"}, "input.cut", "Must be one of: Fair, Ideal."),
        ({**GOOD, "carat": "0.7"}, "input.carat", "Must be a finite number from 0.1 to 6 ct."),
        ([0.7, 1], "input", "Must be an object with the fields carat, cut."),
        (b"JPEG", "input", "Must be an object with the fields carat, cut."),
    ],
)
def test_a_bad_record_is_refused_alone_and_in_a_batch(records: Decoder, payload: Any, field: str, detail: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        records.decode(payload)
    assert (caught.value.field, caught.value.detail) == (field, detail)
    good, bad, also_good = records.decode_batch([GOOD, payload, {"carat": 1, "cut": "Fair"}])
    assert isinstance(good, torch.Tensor)
    assert torch.equal(good, records.decode(GOOD))
    assert str(bad) == str(caught.value)
    assert isinstance(also_good, torch.Tensor)
    assert also_good.tolist() == [1.0, 0.0]


def test_an_empty_batch_of_records_is_empty(records: Decoder) -> None:
    assert records.decode_batch([]) == []


def test_a_batch_of_bad_records_is_all_errors(records: Decoder) -> None:
    assert [type(each) for each in records.decode_batch([{}, 7])] == [InvalidInputError] * 2  # type: ignore[list-item]  # Sent by anyone.


def test_a_blank_record_looks_like_a_decoded_one(records: Decoder, record_spec: ModelSpec) -> None:
    decoded, blank = records.decode(GOOD), blank_item(record_spec.input)
    assert (blank.shape, blank.dtype) == (decoded.shape, decoded.dtype)
