"""Hostile archives: each would run a command of its own when ``torch.export.load`` read it, and is refused unread."""

import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from ml.archives.exported import load_exported
from ml.archives.reader import clean_archive
from ml.errors import ArchiveError
from tests.unit.ml.archives.conftest import PROGRAM, WEIGHTS_CONFIG, Rewrite, read_records, write_records

SAMPLES = "data/sample_inputs/model.pt"
CONSTANTS_CONFIG = "data/constants/model_constants_config.json"


class Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Path.touch, (self.mark,)


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    """The file that an archive of this test makes when its code runs."""
    return tmp_path / "it-ran"


@pytest.fixture
def bomb(mark: Path) -> bytes:
    return pickle.dumps(Bomb(mark))


def test_a_bomb_goes_off_when_it_is_unpickled(bomb: bytes, mark: Path) -> None:
    pickle.loads(bomb)  # noqa: S301 - the proof that the other tests would notice
    assert mark.exists()


def test_sample_inputs_are_never_unpickled(rewrite: Rewrite, bomb: bytes, mark: Path) -> None:
    exported = load_exported(rewrite({SAMPLES: bomb}))
    assert exported(torch.rand(1, 3, 8, 8)).shape == (1, 3)
    assert not mark.exists()


def test_nothing_but_the_program_and_its_tensors_is_copied(rewrite: Rewrite, bomb: bytes) -> None:
    hostile = rewrite({"data/aotinductor/model/code.so": bomb, "data/weights/model.pt": bomb, "extra/x": b"x"})
    copied = read_records(clean_archive(hostile))
    assert not {"data/aotinductor/model/code.so", "data/weights/model.pt", "extra/x"} & set(copied)
    assert copied[SAMPLES] == b""


def test_pickled_weights_are_refused(rewrite: Rewrite, bomb: bytes, mark: Path) -> None:
    def pickled(config: Any) -> None:
        config["config"]["0.weight"]["use_pickle"] = True

    _assert_refused(rewrite({"data/weights/weight_0": bomb}, pickled, WEIGHTS_CONFIG), "not tensors", mark)


@pytest.mark.parametrize("record", ["opaque_obj_0", "custom_obj_0", "../../etc/passwd"])
def test_constants_that_are_no_tensors_are_refused(rewrite: Rewrite, bomb: bytes, mark: Path, record: str) -> None:
    config = {"config": {"x": {"path_name": record, "is_param": False, "use_pickle": False, "tensor_meta": None}}}
    changes = {CONSTANTS_CONFIG: json.dumps(config).encode(), f"data/constants/{record}": bomb}
    _assert_refused(rewrite(changes), "not tensors", mark)


def test_sizes_that_are_code_are_refused(rewrite: Rewrite, mark: Path) -> None:
    def evaluated(program: Any) -> None:
        code = f"__import__('pathlib').Path({str(mark)!r}).touch()"
        value = program["graph_module"]["graph"]["tensor_values"]["input"]
        value["sizes"][0] = {"as_expr": {"expr_str": code, "hint": {"as_int": 3}}}

    _assert_refused(rewrite(edit=evaluated), "no arithmetic of sizes", mark)


@pytest.mark.parametrize("target", ["torch.load", "torch.hub.load", "torch.serialization.os.system", "_operator.call"])
def test_functions_that_are_no_operators_are_refused(rewrite: Rewrite, mark: Path, target: str) -> None:
    def called(program: Any) -> None:
        program["graph_module"]["graph"]["nodes"][0]["target"] = target

    _assert_refused(rewrite(edit=called), "uses the operator", mark)


def test_names_that_are_code_are_refused(rewrite: Rewrite, mark: Path) -> None:
    name = f"x=__import__('pathlib').Path({str(mark)!r}).touch()"

    def named(program: Any) -> None:
        text = json.dumps(program["graph_module"]).replace('"input"', json.dumps(name))
        program["graph_module"] = json.loads(text)

    _assert_refused(rewrite(edit=named), "as a name|names joined by dots", mark)


def test_argument_names_that_are_code_are_refused(rewrite: Rewrite, mark: Path) -> None:
    def named(program: Any) -> None:
        signature = program["graph_module"]["module_call_graph"][0]["signature"]
        signature["forward_arg_names"] = [f"x=__import__('pathlib').Path({str(mark)!r}).touch()"]

    _assert_refused(rewrite(edit=named), "as a name", mark)


def test_guards_are_not_compiled(rewrite: Rewrite, mark: Path) -> None:
    def guarded(program: Any) -> None:
        program["guards_code"] = [f"__import__('pathlib').Path({str(mark)!r}).touch()"]

    load_exported(rewrite(edit=guarded))(torch.rand(1, 3, 8, 8))
    assert not mark.exists()


def test_objects_in_the_graph_are_refused(rewrite: Rewrite, mark: Path) -> None:
    def placed(program: Any) -> None:
        program["graph_module"]["graph"]["inputs"][0] = {"as_custom_obj": {"name": "x", "class_fqn": "y"}}

    _assert_refused(rewrite(edit=placed), "not tensors", mark)


def test_what_was_exported_on_a_gpu_is_read_without_one(rewrite: Rewrite) -> None:
    def moved(part: Any) -> None:
        for value in part.values() if isinstance(part, dict) else part:
            if isinstance(value, dict) and value.keys() == {"type", "index"}:
                value.update(type="cuda", index=0)
            elif isinstance(value, dict | list):
                moved(value)

    exported = load_exported(rewrite(edit=moved))
    assert exported(torch.rand(1, 3, 8, 8)).device.type == "cpu"


def test_a_packed_archive_is_refused(archive: bytes) -> None:
    packed = write_records(read_records(archive), zipfile.ZIP_DEFLATED)
    with pytest.raises(ArchiveError, match="packed by another program"):
        clean_archive(packed)


def test_a_truncated_archive_is_refused(archive: bytes) -> None:
    with pytest.raises(ArchiveError, match="damaged or truncated"):
        clean_archive(archive[: len(archive) // 2])


def test_a_changed_byte_is_found(archive: bytes) -> None:
    at = archive.index(read_records(archive)["data/weights/weight_0"])
    changed = archive[:at] + bytes([archive[at] ^ 1]) + archive[at + 1 :]
    with pytest.raises(ArchiveError, match="damaged or truncated"):
        clean_archive(changed)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"archive_version": b"7"}, "has layout '7'"),
        ({PROGRAM: None}, "no program named 'model'"),
        ({PROGRAM: b"{"}, "is no JSON"),
        ({PROGRAM: b"[]"}, "holds no object"),
        ({PROGRAM: b"{}"}, "has no signature"),
        ({WEIGHTS_CONFIG: None}, "lacks data/weights"),
        ({WEIGHTS_CONFIG: b"{}"}, "lists no tensors"),
        ({"data/weights/weight_0": None}, r"lacks the bytes of the tensor '0\.weight'"),
        ({"data/weights/weight_0": b""}, r"lacks the bytes of the tensor '0\.weight'"),
    ],
)
def test_an_archive_that_lacks_a_part_is_refused(
    rewrite: Rewrite, changes: dict[str, bytes | None], sentence: str
) -> None:
    with pytest.raises(ArchiveError, match=sentence):
        clean_archive(rewrite(changes))


def test_a_tensor_with_too_few_bytes_is_refused(rewrite: Rewrite) -> None:
    with pytest.raises(ArchiveError, match="cannot read the program"):
        load_exported(rewrite({"data/weights/weight_0": bytes(4)}))


def _assert_refused(hostile: bytes, sentence: str, mark: Path) -> None:
    """Check that an archive is refused and that its code did not run."""
    with pytest.raises(ArchiveError, match=sentence):
        load_exported(hostile)
    assert not mark.exists()
