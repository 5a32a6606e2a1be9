"""From a ``torch.export`` archive, sent by anyone, to one that holds nothing but checked text and plain tensors.

``torch.export.load`` unpickles the sample inputs of every archive, and the weights and constants of some, and runs
compiled libraries that it finds inside. So what is loaded is never the archive itself but a copy made here, of the
parts that are needed, each checked; the rest, all pickles among it, stays behind unread.
"""

import io
import json
import re
import zipfile
from collections.abc import Callable, Mapping
from math import prod
from typing import Any, cast

from torch.export.pt2_archive import PT2ArchiveWriter

from ml.archives.rules import check_expression, check_name, check_operator, check_path, check_text
from ml.errors import ArchiveError
from ml.weights import ARCHIVE_PROGRAM_RECORD

Json = Any

VERSION_RECORD = "archive_version"
SAMPLES_RECORD = "data/sample_inputs/model.pt"

ARCHIVE_VERSION = b"0"
"""Of the layout of the records; PyTorch has never had another."""

_WEIGHTS = ("data/weights/", "data/weights/model_weights_config.json")
_CONSTANTS = ("data/constants/", "data/constants/model_constants_config.json")
_TENSOR_RECORD = re.compile(r"(weight|tensor)_\d{1,9}", re.ASCII)

_TENSOR: Json = {"type": None, "context": None, "children_spec": []}
_ONE_TENSOR = [1, _TENSOR]
_ONE_ARGUMENT = [
    1,
    {
        "type": "builtins.tuple",
        "context": "null",
        "children_spec": [
            {"type": "builtins.tuple", "context": "null", "children_spec": [_TENSOR]},
            {"type": "builtins.dict", "context": "[]", "children_spec": []},
        ],
    },
]
_EXPORT_AGAIN = "Export the model again with PyTorch 2.11 or newer: torch.export.save(program, 'model.pt2')."


def clean_archive(data: bytes) -> bytes:
    """Copy the program and its tensors into a new archive, checked.

    Raises:
        ArchiveError: Not a whole archive, of another version, or it holds something that is not allowed.
    """
    records = _read_records(data)
    version = records.get(VERSION_RECORD, b"")
    if version != ARCHIVE_VERSION:
        raise ArchiveError(
            f"The archive has layout {version[:20].decode(errors='replace')!r}, expected '0'. {_EXPORT_AGAIN}"
        )
    if ARCHIVE_PROGRAM_RECORD not in records:
        raise ArchiveError(f"The archive holds no program named 'model'. {_EXPORT_AGAIN}")
    copied = {ARCHIVE_PROGRAM_RECORD: json.dumps(_clean_program(_parse(records, ARCHIVE_PROGRAM_RECORD))).encode()}
    for folder, config_record in (_WEIGHTS, _CONSTANTS):
        copied |= _clean_tensors(records, folder, config_record)
    # The loader insists on sample inputs; without a byte it takes them as absent.
    return _write({**copied, SAMPLES_RECORD: b""})


def _read_records(data: bytes) -> dict[str, bytes]:
    """All records by their name, without the folder that the archive puts around them."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
            names = [entry.filename.partition("/")[2] for entry in entries]
            # PyTorch packs nothing; what is packed could be of any size once unpacked.
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries) or len(set(names)) != len(names):
                raise ArchiveError(f"The archive was packed by another program than PyTorch. {_EXPORT_AGAIN}")
            return {name: archive.read(entry) for name, entry in zip(names, entries, strict=True)}
    except (zipfile.BadZipFile, EOFError, ValueError, NotImplementedError, RuntimeError, OSError) as error:
        raise ArchiveError(f"The archive is damaged or truncated ({error}). Copy it again.") from error


def _parse(records: Mapping[str, bytes], name: str) -> dict[str, Json]:
    try:
        content = json.loads(records[name])
    except KeyError as error:
        raise ArchiveError(f"The archive lacks {name}. {_EXPORT_AGAIN}") from error
    except (ValueError, RecursionError) as error:
        raise ArchiveError(f"The archive's {name} is no JSON ({error}). Copy it again.") from error
    if not isinstance(content, dict):
        raise ArchiveError(f"The archive's {name} holds no object. {_EXPORT_AGAIN}")
    return content


def _clean_program(program: dict[str, Json]) -> Json:
    try:
        root = program["graph_module"]["module_call_graph"][0]
        signature = root["signature"]
        one_in = json.loads(signature["in_spec"]) == _ONE_ARGUMENT
        one_out = json.loads(signature["out_spec"]) == _ONE_TENSOR
        names = [name for name in signature.get("forward_arg_names") or ["x"] if isinstance(name, str)]
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise ArchiveError(f"The archive's program has no signature. {_EXPORT_AGAIN}") from error
    if not one_in or not one_out:
        raise ArchiveError(
            "The program must take one tensor as its only argument and return one tensor. "
            "Wrap the model in a module whose forward does, and export that."
        )
    cleaned = cast("dict[str, Json]", _clean(program, ""))
    cleaned["graph_module"]["module_call_graph"] = [_call(names[:1])]
    return cleaned


def _call(names: list[str]) -> Json:
    for name in names:
        check_name(name)
    specs = {"in_spec": json.dumps(_ONE_ARGUMENT), "out_spec": json.dumps(_ONE_TENSOR), "forward_arg_names": names}
    return {"fqn": "", "signature": {"inputs": [], "outputs": [], **specs}}


# Descriptions for people, and guards, which PyTorch would compile as Python: we check shapes ourselves.
_EMPTIED: dict[str, Json] = {
    "metadata": {},
    "guards_code": [],
    "module_call_graph": [],
    "treespec_namedtuple_fields": {},
    "torch_version": "",
}

_CHECKS: dict[str, Callable[[str], None]] = {
    "name": check_name,
    "as_name": check_name,
    "target": check_operator,
    "as_operator": check_operator,
    "expr_str": check_expression,
    "as_string": check_text,
    "as_strings": check_text,
}

_OBJECTS = frozenset({"as_custom_obj", "as_opaque_obj", "custom_obj", "opaque_obj"})
_NOT_TENSORS = (
    "The archive holds objects that are not tensors, which cannot be read safely. Export the model without them."
)


def _clean(value: Json, key: str) -> Json:
    """Copy a part of the program. ``key`` is the nearest name around it."""
    if key in _EMPTIED:
        return _EMPTIED[key]
    if key in _OBJECTS:
        raise ArchiveError(_NOT_TENSORS)
    if isinstance(value, dict):
        if value.keys() == {"type", "index"}:
            # A device. Where the program was exported means nothing here; the program is moved when it is loaded.
            return {"type": "cpu", "index": None}
        for name in value:
            check_path(name)
        return {name: _clean(part, name) for name, part in value.items()}
    if isinstance(value, list):
        return [_clean(part, key) for part in value]
    if isinstance(value, str):
        _CHECKS.get(key, check_path)(value)
    return value


def _clean_tensors(records: Mapping[str, bytes], folder: str, config_record: str) -> dict[str, bytes]:
    """The description of the tensors in a folder, and their bytes."""
    entries = _parse(records, config_record).get("config")
    if not isinstance(entries, dict):
        raise ArchiveError(f"The archive's {config_record} lists no tensors. {_EXPORT_AGAIN}")
    copied: dict[str, bytes] = {}
    for name, entry in entries.items():
        record = entry.get("path_name") if isinstance(entry, dict) else None
        if (
            not isinstance(record, str)
            or _TENSOR_RECORD.fullmatch(record) is None
            or entry.get("use_pickle") is not False
        ):
            raise ArchiveError(_NOT_TENSORS)
        if folder + record not in records:
            raise ArchiveError(f"The archive lacks the bytes of the tensor {name[:100]!r}. Copy it again.")
        copied[folder + record] = records[folder + record]
        _check_size(name, entry, len(copied[folder + record]))
    return {**copied, config_record: json.dumps({"config": _clean(entries, "")}).encode()}


def _check_size(name: str, entry: Mapping[str, Json], n_bytes: int) -> None:
    try:
        sizes = [size["as_int"] for size in entry["tensor_meta"]["sizes"]]
        wanted = prod(sizes)
    except (KeyError, TypeError) as error:
        raise ArchiveError(f"The archive gives the tensor {name[:100]!r} no size. {_EXPORT_AGAIN}") from error
    # Without bytes the loader makes up zeros of any size; the exact check of the others is PyTorch's own.
    if any(type(size) is not int or size < 0 for size in sizes) or (wanted > 0 and n_bytes == 0):
        raise ArchiveError(f"The archive lacks the bytes of the tensor {name[:100]!r}. Copy it again.")


def _write(records: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with PT2ArchiveWriter(buffer) as writer:
        for name, content in records.items():
            writer.write_bytes(name, content)
    return buffer.getvalue()
