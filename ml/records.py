"""From a record, such as ``{"carat": 0.7, "cut": "Ideal"}``, to the vector that a network sees.

Shapes: D fields, N records.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from ml.errors import InvalidInputError
from ml.predictor import Payload
from ml.spec import InputSpec
from schemas.records import InvalidRecordError, encode_record

FIELD = "input"
"""The name that the request gives to a record; its fields are named below it, such as ``input.cut``."""


class RecordDecoder:
    """A mapping of names to values -> ``[D]`` float32: numbers as they are, choices by their place in their list."""

    def __init__(self, spec: InputSpec) -> None:
        self._fields = spec.fields

    def decode(self, payload: Payload) -> Tensor:
        """Check and encode one record.

        Raises:
            InvalidInputError: A field is missing, unknown or of a wrong value; the error names it and what it must be.
        """
        return torch.tensor(self._encode(payload), dtype=torch.float32)

    def decode_batch(self, payloads: Sequence[Payload]) -> list[Tensor | InvalidInputError]:
        """Encode all, and make their tensors in one call."""
        encoded = [self._encode_or_keep_error(payload) for payload in payloads]
        good = [each for each in encoded if not isinstance(each, InvalidInputError)]
        tensors = iter(torch.tensor(good, dtype=torch.float32).unbind(0) if good else ())
        return [each if isinstance(each, InvalidInputError) else next(tensors) for each in encoded]

    def _encode(self, payload: Payload) -> list[float]:
        try:
            return encode_record(self._fields, payload)
        except InvalidRecordError as error:
            field = f"{FIELD}.{error.field}" if error.field else FIELD
            raise InvalidInputError(field, f"{error.detail[0].upper()}{error.detail[1:]}.") from error

    def _encode_or_keep_error(self, payload: Payload) -> list[float] | InvalidInputError:
        try:
            return self._encode(payload)
        except InvalidInputError as error:
            return error
