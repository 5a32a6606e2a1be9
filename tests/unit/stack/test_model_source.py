import json
from pathlib import Path
from typing import Any

import pytest

from stack.errors import ModelSourceError
from stack.model_source import Source, read_labels, read_sample


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model's folder."""
    config = {"name": "mine", "arch": "mlp", "input": {"type": "vector", "size": 2}, "labels": ["a", "b"]}
    (tmp_path / "model.json").write_text(json.dumps(config))
    (tmp_path / "weights.safetensors").write_bytes(b"weights")
    return tmp_path


def test_a_folder_is_read_as_it_is(folder: Path) -> None:
    source = Source(path=folder, changes={})
    assert (source.read_config()["name"], source.read_weights()) == ("mine", b"weights")


def test_options_change_the_configuration(folder: Path) -> None:
    source = Source(
        path=folder, changes={"name": "other", "size": 3, "kind": None}, options=("hidden=[4]", "mode=fast")
    )
    config = source.read_config()
    assert (config["name"], config["input"]) == ("other", {"type": "vector", "size": 3})
    assert config["arch_options"] == {"hidden": [4], "mode": "fast"}
    assert "kind" not in config


def test_a_file_needs_no_configuration(folder: Path) -> None:
    source = Source(path=folder / "weights.safetensors", changes={"arch": "mlp"})
    assert (source.read_config(), source.read_weights()) == ({"arch": "mlp"}, b"weights")


def test_a_configuration_may_be_named_beside_a_file(folder: Path) -> None:
    source = Source(path=folder / "weights.safetensors", config=folder / "model.json", changes={})
    assert source.read_config()["labels"] == ["a", "b"]


@pytest.mark.parametrize("text", ["a\nb c\n\n", '["a", "b c"]', "\ufeffa\r\nb c"])
def test_labels_are_lines_or_a_list(tmp_path: Path, text: str) -> None:
    (tmp_path / "labels").write_text(text, encoding="utf-8")
    assert read_labels(tmp_path / "labels") == ["a", "b c"]


@pytest.mark.parametrize("content", [b"", b"\n \n", b"[1, 2]", b'{"a": 1}', b"[", b"\xff\xfe"])
def test_labels_that_are_neither_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "labels").write_bytes(content)
    with pytest.raises(ModelSourceError, match="labels"):
        read_labels(tmp_path / "labels")


@pytest.mark.parametrize("name", ["model.json", "weights.safetensors"])
def test_a_folder_that_lacks_a_file_is_refused(folder: Path, name: str) -> None:
    (folder / name).unlink()
    source = Source(path=folder, changes={})
    with pytest.raises(ModelSourceError, match=name):
        _ = (source.read_config(), source.read_weights())


def test_a_folder_with_two_files_of_weights_is_refused(folder: Path) -> None:
    (folder / "model.pt2").touch()
    with pytest.raises(ModelSourceError, match=r"one of .*; it holds 2"):
        Source(path=folder, changes={}).read_weights()


@pytest.mark.parametrize("content", ["", "{", "[]"])
def test_a_configuration_that_is_no_object_is_refused(folder: Path, content: str) -> None:
    (folder / "model.json").write_text(content)
    with pytest.raises(ModelSourceError, match=r"model\.json"):
        Source(path=folder, changes={}).read_config()


def test_an_option_without_a_value_is_refused(folder: Path) -> None:
    with pytest.raises(ModelSourceError, match="must be name=value, not 'depth'"):
        Source(path=folder, changes={}, options=("depth",)).read_config()


@pytest.mark.parametrize(
    ("name", "content", "sample"),
    [("x.json", b"[1, 2]", [1, 2]), ("x.json", b'{"input": [1, 2]}', [1, 2]), ("x.png", b"png", b"png")],
)
def test_a_sample_is_what_a_client_would_send(tmp_path: Path, name: str, content: bytes, sample: Any) -> None:
    (tmp_path / name).write_bytes(content)
    assert read_sample(tmp_path / name) == sample
