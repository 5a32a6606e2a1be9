"""Tensors that a caller posts to train on: checked here, so that nothing is queued that could not be trained.

Kept as safetensors, whatever form they came in: `inputs` of float32, `targets` of int64 or float32.
"""

import json
import math
from array import array
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from safetensors import SafetensorError, deserialize

from store.models import ServedVersion
from webapp.errors import InvalidInputError

SAFETENSORS_TYPES = ("application/x-safetensors", "application/octet-stream")

MIN_ROWS = 2
MAX_ROWS = 200_000

#: How `array` reads what safetensors name so; both are little-endian on every machine that torch runs on.
TYPE_CODES = {"F32": "f", "F64": "d", "I64": "q", "I32": "i", "I16": "h", "I8": "b", "U8": "B"}
FLOATING = frozenset({"F32", "F64"})

NUMBERS = frozenset({int, float})

#: Bytes; of the numbers, and of the length before the header.
ALIGNMENT = 8

INPUTS, TARGETS = "inputs", "targets"


def pack_json(inputs: Any, targets: Any, version: ServedVersion) -> tuple[bytes, int]:
    """Check rows of numbers and their answers, and pack them.

    Returns:
        A safetensors file, and how many rows it has.

    Raises:
        InvalidInputError: They cannot be trained on; names the part at fault.
    """
    width = _check_model(version)
    for name, value in ((INPUTS, inputs), (TARGETS, targets)):
        if not isinstance(value, list):
            raise InvalidInputError(name, f"must be a list; `{INPUTS}` and `{TARGETS}` belong together")
    flat: list[Any] = []
    for index, row in enumerate(inputs):
        if not isinstance(row, list) or len(row) != width:
            raise InvalidInputError(f"{INPUTS}.{index}", f"must be a list of {width} numbers")
        flat += row
    return _pack(_numbers(INPUTS, flat, width), [len(inputs), width], targets, version)


def pack_safetensors(data: bytes, version: ServedVersion) -> tuple[bytes, int]:
    """Check a safetensors file with the tensors `inputs` and `targets`, and pack it anew.

    Returns:
        A safetensors file, and how many rows it has.

    Raises:
        InvalidInputError: It cannot be read or trained on; names the part at fault.
    """
    width = _check_model(version)
    try:
        # The library leaves it untyped.
        tensors = dict(deserialize(data))  # type: ignore[no-untyped-call]
    except SafetensorError as error:
        raise InvalidInputError(INPUTS, f"the body is no safetensors file: {error}") from error
    for name in (INPUTS, TARGETS):
        if name not in tensors:
            raise InvalidInputError(name, f"the file has no tensor {name!r}")
    shape = list(tensors[INPUTS]["shape"])
    if len(shape) != 2 or shape[1] != width:
        raise InvalidInputError(INPUTS, f"must have the shape [rows, {width}], not {shape}")
    if len(tensors[TARGETS]["shape"]) != 1:
        raise InvalidInputError(TARGETS, f"must have one dimension, not {list(tensors[TARGETS]['shape'])}")
    numbers = _numbers(INPUTS, _unpack(INPUTS, tensors[INPUTS]), width)
    if tensors[TARGETS]["dtype"] in FLOATING and version.kind == "classification":
        raise InvalidInputError(TARGETS, "must be whole numbers: the index of each row's label")
    return _pack(numbers, shape, _unpack(TARGETS, tensors[TARGETS]).tolist(), version)


def _check_model(version: ServedVersion) -> int:
    """Return how many numbers a row has."""
    if version.input["type"] != "vector" or version.kind not in ("classification", "regression"):
        raise InvalidInputError(
            INPUTS,
            f"model {version.model!r} is a {version.kind} of a {version.input['type']}; data can be posted to models "
            "that classify vectors or estimate from them. Others learn from feedback",
        )
    return int(version.input["size"])


def _pack(
    numbers: "array[float]", shape: list[int], targets: Sequence[Any], version: ServedVersion
) -> tuple[bytes, int]:
    rows = shape[0]
    if len(targets) != rows:
        raise InvalidInputError(TARGETS, f"has {len(targets)} entries for {rows} rows of inputs")
    if not MIN_ROWS <= rows <= MAX_ROWS:
        raise InvalidInputError(INPUTS, f"has {rows} rows; it takes {MIN_ROWS} to {MAX_ROWS:,}")
    wanted, dtype = _classes(targets, version) if version.kind == "classification" else _values(targets, version)
    return _write({INPUTS: ("F32", shape, numbers.tobytes()), TARGETS: (dtype, [rows], wanted.tobytes())}), rows


def _classes(targets: Sequence[Any], version: ServedVersion) -> tuple["array[int]", str]:
    labels: list[str] = version.config["labels"]
    by_label = {label: index for index, label in enumerate(labels)}
    found = array("q")
    for index, target in enumerate(targets):
        number = by_label.get(target) if isinstance(target, str) else target
        if type(number) is not int or not 0 <= number < len(labels):
            raise InvalidInputError(
                f"{TARGETS}.{index}", f"is none of the {len(labels)} labels of {version.model!r}, nor the index of one"
            )
        found.append(number)
    if len(set(found)) < 2:
        raise InvalidInputError(TARGETS, "holds one label alone; there is nothing to tell apart")
    return found, "I64"


def _values(targets: Sequence[Any], version: ServedVersion) -> tuple["array[float]", str]:
    found = _numbers(TARGETS, targets, None)
    if version.config.get("kind_options", {}).get("transform") == "log":
        low = next((index for index, value in enumerate(found) if value <= 0), None)
        if low is not None:
            raise InvalidInputError(f"{TARGETS}.{low}", f"must be above 0: {version.model!r} works with logarithms")
    if min(found) == max(found):
        raise InvalidInputError(TARGETS, "holds one value alone; there is nothing to learn")
    return found, "F32"


def _numbers(name: str, values: Sequence[Any], width: int | None) -> "array[float]":
    """Convert to float32, and tell where the first is that is no finite number."""
    found = array("f")
    if NUMBERS.issuperset(map(type, values)):
        # A whole number beyond all floats ends it early.
        with suppress(OverflowError):
            found.fromlist(list(values))
    if len(found) == len(values) and all(map(math.isfinite, found)):
        return found
    bad = next(index for index, value in enumerate(values) if not _is_number(value))
    place = f"{bad}" if width is None else f"{bad // width}.{bad % width}"
    raise InvalidInputError(f"{name}.{place}", "must be a finite number within float32")


def _is_number(value: Any) -> bool:
    if type(value) not in NUMBERS:
        return False
    try:
        return math.isfinite(array("f", [value])[0])
    except OverflowError:
        return False


def _write(tensors: Mapping[str, tuple[str, list[int], bytes]]) -> bytes:
    """Write a safetensors file: the length of its header, the header, the numbers.

    The library's own `serialize` takes bytes in some of its versions and addresses in others.
    """
    header: dict[str, Any] = {}
    end = 0
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [end, end + len(data)]}
        end += len(data)
    written = json.dumps(header).encode()
    written += b" " * (-len(written) % ALIGNMENT)
    return len(written).to_bytes(ALIGNMENT, "little") + written + b"".join(data for _, _, data in tensors.values())


def _unpack(name: str, tensor: Mapping[str, Any]) -> "array[Any]":
    code = TYPE_CODES.get(tensor["dtype"])
    if code is None:
        raise InvalidInputError(name, f"has type {tensor['dtype']}; send one of {', '.join(TYPE_CODES)}")
    found: array[Any] = array(code)
    found.frombytes(bytes(tensor["data"]))
    return found
