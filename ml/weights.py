"""Weights on disk and in memory: safetensors only, because unpickling a file runs whatever code it carries."""

import hashlib
import io
import zipfile
from collections.abc import Iterable
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from ml.errors import WeightsError

ARCHIVE_FORMAT_RECORD = "archive_format"
ARCHIVE_PROGRAM_RECORD = "models/model.json"
"""What a ``torch.export`` archive holds and no other zip file does."""

_MAX_NAMES_SHOWN = 3

_PICKLE_STARTS = tuple(bytes([0x80, protocol]) for protocol in range(2, 6))

_HEADER_LENGTH_BYTES = 8
_MAX_HEADER_BYTES = 100_000_000
"""Of safetensors; it writes the length of its header first."""


def sha256_hex(data: bytes) -> str:
    """The name of ``data`` in the object store: its SHA-256 in lower-case hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def verify_checksum(data: bytes, expected_sha256: str) -> None:
    """Compare ``data`` with the checksum that its model configuration states.

    Raises:
        WeightsError: They differ.
    """
    found = sha256_hex(data)
    if found != expected_sha256:
        raise WeightsError(f"The weights have SHA-256 {found}, expected {expected_sha256}. Copy or import them again.")


def is_archive(data: bytes) -> bool:
    """Whether these are the bytes of a ``torch.export`` archive, good or bad."""
    return any(name in (ARCHIVE_FORMAT_RECORD, ARCHIVE_PROGRAM_RECORD) for name in _zipped_names(data))


def refuse_pickle(data: bytes) -> None:
    """Say clearly what a file is that ``torch.save`` wrote.

    Raises:
        WeightsError: It is a pickle, in a zip file or bare.
    """
    if data.startswith(_PICKLE_STARTS) or "data.pkl" in _zipped_names(data):
        raise WeightsError(
            "The file is a pickle, as torch.save writes it, which runs whatever code it carries when it is read. "
            "Convert it where you trust it: safetensors.torch.save_file(torch.load(FILE), 'weights.safetensors')."
        )


def dump_weights(module: nn.Module) -> bytes:
    """All parameters and buffers of ``module`` as safetensors."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in module.state_dict().items()}
    return safetensors.torch.save(tensors)


def save_weights(module: nn.Module, path: Path) -> None:
    """Write ``dump_weights`` to a file; a reader sees the old file or the whole new one."""
    partial = path.with_name(path.name + ".partial")
    partial.write_bytes(dump_weights(module))
    partial.replace(path)


def load_weights(module: nn.Module, data: bytes) -> None:
    """Fill in every parameter and buffer of ``module``, on whatever device it is.

    Raises:
        WeightsError: Not safetensors, or a tensor is missing, unknown, of another shape, or not finite.
    """
    tensors = _parse(data)
    expected = module.state_dict()
    missing, extra = expected.keys() - tensors.keys(), tensors.keys() - expected.keys()
    if missing or extra:
        raise WeightsError(
            f"The weights are of another architecture: missing {_name(missing)}, unknown {_name(extra)}. "
            "Check the model's arch and arch_options."
        )
    for name, expected_tensor in expected.items():
        _check(name, tensors[name], expected_tensor)
    module.load_state_dict(tensors)


def _parse(data: bytes) -> dict[str, Tensor]:
    try:
        return safetensors.torch.load(data)
    except SafetensorError as error:
        if _is_truncated(data):
            raise WeightsError(f"The weights are truncated ({error}). Copy the file again.") from error
        advice = "Save a state_dict by safetensors.torch.save_file."
        raise WeightsError(f"The weights are not safetensors ({error}). {advice}") from error


def _is_truncated(data: bytes) -> bool:
    """Whether the file begins as safetensors do."""
    header_bytes = int.from_bytes(data[:_HEADER_LENGTH_BYTES], "little")
    return data[_HEADER_LENGTH_BYTES : _HEADER_LENGTH_BYTES + 1] == b"{" and header_bytes <= _MAX_HEADER_BYTES


def _zipped_names(data: bytes) -> list[str]:
    """The records of a zip file without the folder that PyTorch puts around them; nothing for another file."""
    if not data.startswith(b"PK"):
        return []
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return [name.partition("/")[2] for name in archive.namelist()]
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        # Truncated: the names stand at the end, but also before each record, packed or not.
        records = (ARCHIVE_FORMAT_RECORD, ARCHIVE_PROGRAM_RECORD, "data.pkl")
        return [name for name in records if f"/{name}".encode() in data]


def _check(name: str, tensor: Tensor, expected: Tensor) -> None:
    if tensor.shape != expected.shape:
        shapes = f"{list(tensor.shape)}, expected {list(expected.shape)}"
        raise WeightsError(f"The tensor {name} has shape {shapes}. Check the model's arch_options, labels and input.")
    if tensor.dtype != expected.dtype:
        raise WeightsError(f"The tensor {name} has type {tensor.dtype}, expected {expected.dtype}.")
    if not bool(torch.isfinite(tensor).all()):
        raise WeightsError(f"The tensor {name} holds NaN or infinity. Train the model again.")


def _name(names: Iterable[str]) -> str:
    ordered = sorted(names)
    more = len(ordered) - _MAX_NAMES_SHOWN
    return (", ".join(ordered[:_MAX_NAMES_SHOWN]) or "none") + (f" and {more} more" if more > 0 else "")
