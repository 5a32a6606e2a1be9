"""`torchqueue models import`: what is registered, and that a file that does not fit changes nothing."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from sqlalchemy import Engine as Database
from sqlalchemy import text
from torchvision.models import resnet18

from ml.bundles import BUNDLED_DIRECTORY
from ml.kinds import build_untrained
from ml.spec import ModelSpec
from store.database import open_session
from store.models import get_model, get_version
from store.objects import ObjectStore
from tests.factories import clean
from tests.integration.stack.conftest import Torchqueue, assert_refused
from tests.running import ROOT
from tests.unit.ml.archives.conftest import export, make_module

PAGE = ROOT / "docs" / "extending.md"

CONFIG: dict[str, Any] = {
    "kind": "classification",
    "arch": "mlp",
    "arch_options": {"hidden": [4]},
    "input": {"type": "vector", "size": 2},
    "labels": ["no", "yes", "maybe"],
}

pytestmark = pytest.mark.usefixtures("_cleaned")


@pytest.fixture
def _cleaned(database: Database) -> Iterator[None]:
    yield
    clean(database)


@pytest.fixture
def mine(tmp_path: Path) -> list[str]:
    """The words that import a good model called `mine`."""
    module = build_untrained(ModelSpec.from_config("mine", 1, CONFIG), "cpu").module
    save_file(module.state_dict(), tmp_path / "mine.safetensors")
    (tmp_path / "labels.txt").write_text("\n".join(CONFIG["labels"]))
    words = ["models", "import", str(tmp_path / "mine.safetensors"), "--arch=mlp", "--arch-option=hidden=[4]"]
    return [*words, f"--labels={tmp_path / 'labels.txt'}", "--input=vector", "--size=2"]


def rows(database: Database) -> list[Any]:
    """All that the registry holds."""
    statement = (
        "SELECT m.id, m.champion_id, v.id FROM models m LEFT JOIN model_versions v ON v.model_id = m.id ORDER BY 3"
    )
    with database.connect() as connection:
        return [tuple(row) for row in connection.execute(text(statement))]


def test_a_model_is_registered_with_its_file(
    torchqueue: Torchqueue, database: Database, objects: ObjectStore, mine: list[str]
) -> None:
    printed = torchqueue(*mine, "--description=Mine.").output

    with open_session(database) as session:
        version = get_version(session, "mine", 1)
        assert (version.source, version.config["labels"], version.model.champion) == (
            "imported",
            CONFIG["labels"],
            None,
        )
        assert version.model.description == "Mine."
    assert objects.get(version.weights_sha256) == Path(mine[2]).read_bytes()
    assert printed.startswith("mine version 1 is registered: classification, mlp, 3 labels, 0.0 MB\n")
    assert "torchqueue models promote mine 1" in printed
    assert "/v1/models/mine/predictions?version=1" in printed


def test_the_second_import_is_the_second_version(torchqueue: Torchqueue, mine: list[str]) -> None:
    numbers = [json.loads(torchqueue(*mine, "--json").output)["version"] for _ in range(2)]
    assert numbers == [1, 2]


def test_a_model_may_be_promoted_at_once(torchqueue: Torchqueue, database: Database, mine: list[str]) -> None:
    printed = torchqueue(*mine, "--name=other", "--promote").output

    with open_session(database) as session:
        champion = get_model(session, "other").champion
        assert champion is not None
        assert champion.number == 1
    assert "models promote" not in printed


def test_a_check_registers_nothing_and_needs_no_stack(
    torchqueue: Torchqueue, database: Database, mine: list[str]
) -> None:
    before = rows(database)
    result = torchqueue(*mine, "--check", env={"TORCHQUEUE_DATABASE_URL": None, "TORCHQUEUE_REDIS_URL": None})
    assert result.output.startswith("mine fits and would be registered: ")
    assert rows(database) == before


def test_a_folder_is_imported_with_its_metrics(torchqueue: Torchqueue) -> None:
    torchqueue("models", "import", str(BUNDLED_DIRECTORY / "xor"), "--name=xor-2")

    [line] = [line for line in torchqueue("models", "list").output.splitlines() if line.startswith("xor-2")]
    assert line.split()[:4] == ["xor-2", "classification", "1", "imported"]


def test_a_regression_of_photos_is_imported_by_the_configuration_of_the_page(
    torchqueue: Torchqueue, tmp_path: Path
) -> None:
    [config] = re.findall(r"^```json\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    (tmp_path / "model.json").write_text(config)
    weights = tmp_path / "photo-price.safetensors"
    words = ["models", "import", str(weights), f"--config={tmp_path / 'model.json'}", "--check"]

    save_file(resnet18(weights=None, num_classes=3).state_dict(), weights)
    assert torchqueue(*words).output.startswith("photo-price fits and would be registered: regression")

    save_file(resnet18(weights=None, num_classes=2).state_dict(), weights)
    assert_refused(torchqueue(*words), r".*fc\.weight.*")


def test_an_archive_is_imported(torchqueue: Torchqueue, tmp_path: Path, database: Database) -> None:
    (tmp_path / "mine.pt2").write_bytes(export(make_module()))
    (tmp_path / "labels.txt").write_text("a\nb\nc")

    torchqueue("models", "import", str(tmp_path / "mine.pt2"), f"--labels={tmp_path / 'labels.txt'}", "--promote")

    with open_session(database) as session:
        assert get_version(session, "mine", 1).config["format"] == "torch-export"


def test_the_sample_is_answered(torchqueue: Torchqueue, mine: list[str], tmp_path: Path) -> None:
    (tmp_path / "sample.json").write_text('{"input": [0, 1]}')
    answer = json.loads(torchqueue(*mine, "--check", "--json", f"--sample={tmp_path / 'sample.json'}").output)["answer"]
    assert answer["label"] in CONFIG["labels"]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--size=3"], r"The tensor 0\.weight has shape \[4, 2\], expected \[4, 3\]\. .*"),
        (["--arch=fashion-cnn"], r"input\.type: must be 'image' for fashion-cnn\."),
        (["--arch=torchvision:resnet18"], "input: must be an image of 3 channels for torchvision:resnet18."),
        (["--kind=guessing"], "There is no kind 'guessing'; .*"),
        (["--name=My Model"], "name: must be 1 to 63 .*"),
        (["--sample={sample}"], r"input: Expected 2 numbers, got 3\."),
        (["--weights=elsewhere"], "name one file or folder, .*"),
        (["--weights=torchvision:ResNet18_Weights.DEFAULT"], "leave out PATH: .*"),
    ],
)
def test_what_does_not_fit_is_refused_in_a_line_and_changes_nothing(
    torchqueue: Torchqueue, database: Database, mine: list[str], tmp_path: Path, words: list[str], line: str
) -> None:
    (tmp_path / "sample.json").write_text("[1, 2, 3]")
    before = rows(database)
    words = [word.format(sample=tmp_path / "sample.json") for word in words]
    assert_refused(torchqueue(*mine, *words, "--promote"), line)
    assert rows(database) == before


def test_a_pickle_in_disguise_is_refused_and_changes_nothing(
    torchqueue: Torchqueue, database: Database, mine: list[str]
) -> None:
    before = rows(database)
    torch.save({"0.weight": torch.zeros(4, 2)}, mine[2])
    assert_refused(torchqueue(*mine, "--promote"), "The file is a pickle, as torch.save writes it, .*")
    assert rows(database) == before


def test_another_kind_under_a_name_in_use_is_refused_and_changes_nothing(
    torchqueue: Torchqueue, database: Database, mine: list[str], tmp_path: Path
) -> None:
    plugin = tmp_path / "other_kind.py"
    plugin.write_text("from ml.classification import ClassificationPredictor as C\nKINDS = {'other-kind': C}\n")
    before = rows(database)
    result = torchqueue(*mine, "--name=xor", "--kind=other-kind", "--promote", env={"TORCHQUEUE_PLUGINS": str(plugin)})
    assert_refused(result, "model 'xor' is of kind classification, not other-kind; give this one another name")
    assert rows(database) == before


def test_a_plugin_that_cannot_be_imported_is_refused(torchqueue: Torchqueue, mine: list[str]) -> None:
    result = torchqueue(*mine, env={"TORCHQUEUE_PLUGINS": "no_such_plugin"})
    assert_refused(result, "The plugin no_such_plugin cannot be imported: ModuleNotFoundError: .*")


def test_nothing_to_import_is_refused(torchqueue: Torchqueue) -> None:
    assert_refused(torchqueue("models", "import"), "name one file or folder, .*")


@pytest.mark.parametrize("option", ["--mean=a,b", "--size=0", "--input=sound", "--labels=nowhere.txt"])
def test_an_option_that_makes_no_sense_is_refused(torchqueue: Torchqueue, mine: list[str], option: str) -> None:
    assert torchqueue(*mine, option).exit_code == 2
