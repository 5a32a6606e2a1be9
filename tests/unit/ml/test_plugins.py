import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ml.architectures.registry import ARCHITECTURES, find_builder
from ml.errors import PluginError
from ml.kinds import KINDS, find_kind
from ml.plugins import load_plugin, load_plugins

GOOD = """
from ml.architectures.mlp import build_mlp
from ml.classification import ClassificationPredictor

class Mine(ClassificationPredictor):
    pass

KINDS = {"mine": Mine}
ARCHITECTURES = {"my-net": build_mlp}
"""


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    kinds, architectures, modules = dict(KINDS), dict(ARCHITECTURES), set(sys.modules)
    yield
    for name in KINDS.keys() - kinds.keys():
        del KINDS[name]
    for name in ARCHITECTURES.keys() - architectures.keys():
        del ARCHITECTURES[name]
    for name in set(sys.modules) - modules:
        del sys.modules[name]


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    file = tmp_path / "my_kinds.py"
    file.write_text(GOOD)
    return file


def test_a_file_adds_kinds_and_architectures(plugin: Path) -> None:
    load_plugin(str(plugin))
    assert find_kind("mine").__name__ == "Mine"
    assert find_builder("my-net").__name__ == "build_mlp"


def test_a_module_that_python_finds_does_too(plugin: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(plugin.parent)
    load_plugin("my_kinds")
    assert "mine" in KINDS


def test_loading_a_second_time_changes_nothing(plugin: Path) -> None:
    load_plugin(str(plugin))
    first = KINDS["mine"]
    load_plugin(str(plugin))
    assert KINDS["mine"] is first


def test_a_plugin_that_fails_leaves_the_others_alone(plugin: Path) -> None:
    [problem] = load_plugins(["no.such.module", str(plugin)])
    assert "no.such.module cannot be imported: ModuleNotFoundError" in str(problem)
    assert "mine" in KINDS


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("1 / 0", "cannot be imported: ZeroDivisionError"),
        ("x = ", "cannot be imported: SyntaxError"),
        ("x = 1", "defines neither KINDS nor ARCHITECTURES"),
        ("KINDS = [1]", "must be a dictionary by name"),
        ("KINDS = {'mine': 1}", r"KINDS\['mine'\] .* must be a class derived from ml.predictor.Predictor"),
        (
            "from ml.predictor import Predictor\nclass Half(Predictor):\n    pass\nKINDS = {'half': Half}",
            "lacks the methods decode, decode_batch, encode_batch, forward",
        ),
        ("ARCHITECTURES = {'net': 1}", "must be a function"),
        (GOOD.replace('"mine"', '"classification"'), "'classification' in KINDS, which exists already"),
    ],
)
def test_a_plugin_that_cannot_be_used_is_refused_and_registers_nothing(
    plugin: Path, source: str, sentence: str
) -> None:
    before = {**KINDS, **ARCHITECTURES}
    plugin.write_text(source)
    with pytest.raises(PluginError, match=sentence):
        load_plugin(str(plugin))
    assert before == {**KINDS, **ARCHITECTURES}


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(PluginError, match=r"nowhere\.py cannot be imported: FileNotFoundError"):
        load_plugin(str(tmp_path / "nowhere.py"))


def test_a_file_with_the_name_of_a_module_is_refused(tmp_path: Path) -> None:
    (tmp_path / "json.py").write_text(GOOD)
    with pytest.raises(PluginError, match="another module is called json; rename the file"):
        load_plugin(str(tmp_path / "json.py"))
