"""Tiny programs as ``torch.export.save`` writes them, and changed by hand."""

import io
import json
import zipfile
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import nn
from torch.export import Dim

PROGRAM = "models/model.json"
WEIGHTS_CONFIG = "data/weights/model_weights_config.json"

Rewrite = Callable[..., bytes]


def make_module() -> nn.Module:
    torch.manual_seed(0)
    layers = (nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    return nn.Sequential(*layers).eval()


def export(module: nn.Module, *, batch: Any = None, example: torch.Tensor | None = None) -> bytes:
    """Export with a batch of any size, of a range, or (with ``batch`` an int) of one size."""
    example = torch.rand(batch if isinstance(batch, int) else 5, 3, 8, 8) if example is None else example
    shapes = None if isinstance(batch, int) else ({0: batch or Dim.DYNAMIC},)
    return save(torch.export.export(module, (example,), dynamic_shapes=shapes))


def save(program: torch.export.ExportedProgram) -> bytes:
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    return buffer.getvalue()


def read_records(archive: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        return {name.partition("/")[2]: opened.read(name) for name in opened.namelist()}


def write_records(records: Mapping[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as opened:
        for name, content in records.items():
            opened.writestr(f"archive/{name}", content)
    return buffer.getvalue()


@pytest.fixture(scope="session")
def archive() -> bytes:
    """A network on images 3 x 8 x 8 for batches of any size."""
    return export(make_module())


@pytest.fixture(scope="session")
def rewrite(archive: bytes) -> Rewrite:
    """Changes records: ``rewrite(name=content)`` with None to leave one out; or edits the JSON of one in place."""

    def change(
        changes: Mapping[str, bytes | None] | None = None, edit: Callable[[Any], None] | None = None, of: str = PROGRAM
    ) -> bytes:
        records: dict[str, bytes | None] = {**read_records(archive), **(changes or {})}
        if edit is not None:
            content = json.loads(records[of] or b"")
            edit(content)
            records[of] = json.dumps(content).encode()
        return write_records({name: content for name, content in records.items() if content is not None})

    return change
