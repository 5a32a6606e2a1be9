"""Nothing that is read is ever unpickled: no code of ours asks for it, and files made to run code are refused."""

import ast
import io
import json
import pickle
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from ml.candidate import check_candidate
from ml.errors import MLError

ROOT = Path(__file__).resolve().parents[3]

ROOMS = ("schemas", "ml", "store", "tasks", "webapp", "stack", "migrations", "benchmarks", "samples", "deploy", "sdk")

#: Calls that build objects, or run code, from bytes, by the last two words of their names.
UNSAFE = {
    "pickle.load",
    "pickle.loads",
    "pickle.Unpickler",
    "cloudpickle.loads",
    "dill.loads",
    "joblib.load",
    "marshal.loads",
    "shelve.open",
    "jit.load",
    "yaml.load",
    "yaml.unsafe_load",
    "pandas.read_pickle",
    "export.load",
}

#: What this process itself wrote a moment before, and hands to a child through a pipe.
OUR_OWN = {("ml/compiling.py", "pickle.loads")}

CONFIG: dict[str, Any] = {
    "name": "mine",
    "kind": "classification",
    "arch": "mlp",
    "arch_options": {"hidden": [4]},
    "input": {"type": "vector", "size": 2},
    "labels": ["0", "1"],
}


class Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Path.touch, (self.mark,)


def with_header(header: dict[str, Any], data: bytes = b"") -> bytes:
    """Make a safetensors file of a header and whatever follows."""
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def zipped(members: dict[str, bytes]) -> bytes:
    """Make a compressed zip file."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def saved_by_torch(value: Any, **options: Any) -> bytes:
    """Make what `torch.save` makes."""
    buffer = io.BytesIO()
    torch.save(value, buffer, **options)
    return buffer.getvalue()


def hostile_files(mark: Path) -> dict[str, bytes]:
    """Files by what is wrong with them."""
    good = safetensors.torch.save({"weight": torch.zeros(2)})
    tensor = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
    return {
        "a bare pickle": pickle.dumps(Bomb(mark)),
        "a pickle of an old protocol": pickle.dumps(Bomb(mark), protocol=0),
        "a torch file with code": saved_by_torch({"weight": Bomb(mark)}),
        "a torch file of the old format with code": saved_by_torch(
            {"weight": Bomb(mark)}, _use_new_zipfile_serialization=False
        ),
        "a header of 200 MB that is not there": struct.pack("<Q", 200_000_000) + b"{}",
        "a header of 200 MB": struct.pack("<Q", 200_000_000) + b"{" + b" " * 199_999_998 + b"}",
        "a header as long as the address space": struct.pack("<Q", 2**64 - 1) + b"{}",
        "tensors that overlap": with_header({"a": tensor, "b": tensor}, bytes(8)),
        "a tensor beyond the end": with_header({"a": {**tensor, "data_offsets": [0, 2**62]}}, bytes(8)),
        "a tensor that begins after its end": with_header({"a": {**tensor, "data_offsets": [8, 0]}}, bytes(8)),
        "a shape whose product overflows": with_header({"a": {**tensor, "shape": [2**62, 4]}}, bytes(8)),
        "a hole between tensors": with_header({"a": tensor, "b": {**tensor, "data_offsets": [16, 24]}}, bytes(24)),
        "a header that is no JSON": struct.pack("<Q", 4) + b"\x80\x04K\x01",
        "half a file": good[: len(good) // 2],
        "nothing": b"",
        "a bomb of zeros": zipped({"archive/data.pkl": bytes(64_000_000)}),
        "a bomb that calls itself an archive": zipped(
            {
                "archive/archive_format": b"pt2",
                "archive/version": b"0",
                "archive/models/model.json": bytes(64_000_000),
            }
        ),
        "paths that lead out of the archive": zipped({"../../etc/passwd": b"root", "archive/data.pkl": b"."}),
    }


KINDS = list(hostile_files(Path("mark")))


@pytest.fixture(scope="module")
def mark(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file that code from a hostile file makes when it runs."""
    return tmp_path_factory.mktemp("hostile") / "it-ran"


@pytest.fixture(scope="module")
def files(mark: Path) -> dict[str, bytes]:
    """All hostile files."""
    return hostile_files(mark)


def test_the_bomb_would_go_off(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Bomb(tmp_path / "it-ran")))  # noqa: S301 - the proof that the other tests would notice
    assert (tmp_path / "it-ran").exists()


@pytest.mark.parametrize("kind", KINDS)
def test_a_hostile_file_is_refused_and_runs_nothing(files: dict[str, bytes], mark: Path, kind: str) -> None:
    with pytest.raises(MLError):
        check_candidate(CONFIG, files[kind])
    assert not mark.exists()


@pytest.mark.parametrize("room", ROOMS)
def test_no_code_of_ours_unpickles(room: str) -> None:
    found = {
        (str(path.relative_to(ROOT)), name)
        for path in sorted((ROOT / room).rglob("*.py"))
        for name in unsafe_calls(ast.parse(path.read_text()))
    }

    assert found <= OUR_OWN


@pytest.mark.parametrize(
    "code",
    [
        "import pickle\npickle.loads(data)",
        "import torch\ntorch.load(path)",
        "import torch\ntorch.load(path, weights_only=False)",
        "import numpy as np\nnp.load(path, allow_pickle=True)",
        "import torch\ntorch.jit.load(path)",
        "from pickle import loads\nloads(data)",
        "eval(text)",
        "entry.get_state_dict(progress=False)",
    ],
)
def test_the_check_finds_it(code: str) -> None:
    assert list(unsafe_calls(ast.parse(code)))


def unsafe_calls(tree: ast.AST) -> Iterator[str]:
    """Yield the calls in a module by which bytes could become code."""
    imported = {
        alias.asname or alias.name: f"{node.module}.{alias.name}"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            whole = imported.get(name, name)
            short = ".".join(whole.split(".")[-2:])
            # Tensors alone, by design.
            if whole.startswith("safetensors."):
                continue
            if short in UNSAFE or short in {"eval", "exec"} or _is_loose(short, node):
                yield short


def _is_loose(name: str, call: ast.Call) -> bool:
    """Whether a loader that can be safe is told to be careless, or is not told to be safe."""
    options = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
    if name == "torch.load" or name.endswith(("get_state_dict", "load_state_dict_from_url")):
        return options.get("weights_only") != "True"
    return options.get("allow_pickle", "False") != "False"
