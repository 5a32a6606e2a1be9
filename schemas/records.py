"""Inputs made of named values: how a model's configuration declares them, and the one check that a record passes.

The web process refuses with it what the worker would refuse with it, so neither needs the other to say what is wrong.
Only the standard library is used here: `ml` reads it too.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

#: What a network's numbers can hold.
FLOAT32_MAX = 3.4028234663852886e38


class RecordError(Exception):
    """Base of the errors of records.

    Args:
        field: Dotted name of the part at fault, below whatever holds the record; empty for all of it.
        detail: What it must be.
    """

    def __init__(self, field: str, detail: str) -> None:
        super().__init__(field, detail)
        self.field = field
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.field} {self.detail}".strip()


class InvalidRecordError(RecordError):
    """Raised when a value does not fit the declared fields."""


class InvalidFieldsError(RecordError):
    """Raised when a configuration declares fields that cannot be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NumberField:
    """A finite number.

    Args:
        name: As records spell it.
        minimum: The least that is accepted.
        maximum: The most that is accepted.
        unit: For people; empty where it has none.
        mean: Of the values that a network was trained on; networks subtract it.
        std: Their standard deviation; networks divide by it.
    """

    name: str
    minimum: float = -FLOAT32_MAX
    maximum: float = FLOAT32_MAX
    unit: str = ""
    mean: float = 0.0
    std: float = 1.0

    @property
    def expected(self) -> str:
        """What a value must be, in words."""
        if self.maximum == FLOAT32_MAX:
            bounds = "" if self.minimum == -FLOAT32_MAX else f" of at least {self.minimum:g}"
        elif self.minimum == -FLOAT32_MAX:
            bounds = f" of at most {self.maximum:g}"
        else:
            bounds = f" from {self.minimum:g} to {self.maximum:g}"
        return f"a finite number{bounds}{self.unit and f' {self.unit}'}"

    def encode(self, value: object) -> float:
        """Check a value and return it.

        Raises:
            InvalidRecordError: It is no number, not finite, or out of bounds.
        """
        # Comparing, because converting a huge whole number to float would raise; NaN compares false too.
        if type(value) not in (int, float) or not self.minimum <= value <= self.maximum:  # type: ignore[operator]
            raise InvalidRecordError(self.name, f"must be {self.expected}")
        return float(value)  # type: ignore[arg-type]  # Checked above, by exact type: a truth value is no number.


@dataclass(frozen=True, slots=True, kw_only=True)
class ChoiceField:
    """One of a fixed list of words.

    Args:
        name: As records spell it.
        choices: What it may be; the order is the network's.
    """

    name: str
    choices: tuple[str, ...]

    @property
    def expected(self) -> str:
        """What a value must be, in words."""
        return f"one of: {', '.join(self.choices)}"

    def encode(self, value: object) -> float:
        """Check a value and return its place among the choices, from 0.

        Raises:
            InvalidRecordError: It is none of the choices; lists them.
        """
        if not isinstance(value, str) or value not in self.choices:
            raise InvalidRecordError(self.name, f"must be {self.expected}")
        return float(self.choices.index(value))


Field = NumberField | ChoiceField


def read_fields(declared: object) -> tuple[Field, ...]:
    """Read the `fields` of a model's input.

    Raises:
        InvalidFieldsError: Naming the part, e.g. `fields[1].choices`.
    """
    if not isinstance(declared, Sequence) or isinstance(declared, str) or not declared:
        raise InvalidFieldsError("fields", "must be a list of one field or more.")
    fields = tuple(_read_field(field, f"fields[{index}]") for index, field in enumerate(declared))
    if len({field.name for field in fields}) != len(fields):
        raise InvalidFieldsError("fields", "must not repeat a name.")
    return fields


def encode_record(fields: Sequence[Field], record: object) -> list[float]:
    """Check a record, as JSON has it, and turn it into numbers in the order of its fields.

    Returns:
        A number as it is, a choice as its place among the choices; each fits float32.

    Raises:
        InvalidRecordError: It is no object, lacks a field, has one that is unknown, or a value does not fit its field.
    """
    if not isinstance(record, Mapping):
        raise InvalidRecordError("", f"must be an object with the fields {_names(fields)}")
    known = {field.name for field in fields}
    for name in record:
        if name not in known:
            raise InvalidRecordError(str(name), f"is unknown; the fields are {_names(fields)}")
    for field in fields:
        if field.name not in record:
            raise InvalidRecordError(field.name, f"is missing; it must be {field.expected}")
    return [field.encode(record[field.name]) for field in fields]


def _names(fields: Sequence[Field]) -> str:
    return ", ".join(field.name for field in fields)


def _read_field(declared: object, place: str) -> Field:
    if not isinstance(declared, Mapping):
        raise InvalidFieldsError(place, "must be an object.")
    name = declared.get("name")
    if not isinstance(name, str) or not name:
        raise InvalidFieldsError(f"{place}.name", "must be a string that is not empty.")
    match declared.get("type"):
        case "number":
            return _read_number(name, declared, place)
        case "choice":
            return ChoiceField(name=name, choices=_read_choices(declared.get("choices"), place))
    raise InvalidFieldsError(f"{place}.type", "must be 'number' or 'choice'.")


def _read_number(name: str, declared: Mapping[str, Any], place: str) -> NumberField:
    defaults = {"min": -FLOAT32_MAX, "max": FLOAT32_MAX, "mean": 0.0, "std": 1.0}
    numbers = {key: declared.get(key, default) for key, default in defaults.items()}
    for key, value in numbers.items():
        if type(value) not in (int, float) or not abs(value) <= FLOAT32_MAX:
            raise InvalidFieldsError(f"{place}.{key}", "must be a finite number.")
    if numbers["min"] >= numbers["max"]:
        raise InvalidFieldsError(f"{place}.max", "must be above min.")
    if numbers["std"] <= 0:
        raise InvalidFieldsError(f"{place}.std", "must be above 0.")
    unit = declared.get("unit", "")
    if not isinstance(unit, str):
        raise InvalidFieldsError(f"{place}.unit", "must be a string.")
    return NumberField(
        name=name,
        minimum=numbers["min"],
        maximum=numbers["max"],
        unit=unit,
        mean=numbers["mean"],
        std=numbers["std"],
    )


def _read_choices(declared: object, place: str) -> tuple[str, ...]:
    if not isinstance(declared, list) or len(declared) < 2 or not all(isinstance(each, str) for each in declared):
        raise InvalidFieldsError(f"{place}.choices", "must be a list of two strings or more.")
    if len(set(declared)) != len(declared):
        raise InvalidFieldsError(f"{place}.choices", "must not repeat a choice.")
    return tuple(declared)
