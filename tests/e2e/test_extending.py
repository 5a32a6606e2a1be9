"""`docs/extending.md`, followed to the letter in an empty folder: every file is written, every command runs."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from stack.embedded import free_port
from tests.running import ROOT

PAGE = ROOT / "docs" / "extending.md"

# The page's address of the API; a test must not take the port that a developer's own stack has.
ADDRESS = "http://127.0.0.1:8000"

BLOCK = re.compile(r"^```(python file=(?P<file>\S+)|console)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)

COMMAND_TIMEOUT_S = 300

# Two starts of a whole stack and some dozen commands that import torch, all in the fixture.
pytestmark = pytest.mark.timeout(900)


@dataclass(frozen=True)
class Step:
    """A command of the page and what it printed."""

    command: str
    output: str


class Reader:
    """Somebody who follows the page.

    Args:
        folder: Where they work; holds nothing.
    """

    def __init__(self, folder: Path) -> None:
        port, flower_port = free_port(), free_port()
        self.folder = folder
        self.address = f"http://127.0.0.1:{port}"
        # What a reader's shell has: this project's commands first on the path, and its packages.
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("TORCHQUEUE_")}
        self.environment |= {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "TORCHQUEUE_PORT": str(port),
            "TORCHQUEUE_FLOWER_PORT": str(flower_port),
        }

    def follow(self, page: str) -> list[Step]:
        """Do all that the page says, in its order."""
        steps: list[Step] = []
        for block in BLOCK.finditer(page):
            if block["file"]:
                (self.folder / block["file"]).write_text(block["text"])
            else:
                steps += [self.run(line.removeprefix("$ ")) for line in block["text"].splitlines()]
        return steps

    def run(self, command: str) -> Step:
        """Run a command as typed; `export` holds for those that follow."""
        if command.startswith("export "):
            name, _, value = command.removeprefix("export ").partition("=")
            self.environment[name] = value
            return Step(command, "")
        finished = subprocess.run(
            ["bash", "-c", command.replace(ADDRESS, self.address)],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=COMMAND_TIMEOUT_S,
            check=False,
        )
        assert finished.returncode == 0, f"{command}\n{finished.stdout}\n{finished.stderr}"
        return Step(command, finished.stdout)


@pytest.fixture(scope="module")
def steps(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Step]]:
    """What the page's commands printed."""
    reader = Reader(tmp_path_factory.mktemp("extending"))
    try:
        yield reader.follow(PAGE.read_text(encoding="utf-8"))
    finally:
        # Shown where a test fails: why a model did not answer stands in the log of its worker.
        for log in sorted((reader.folder / "var").rglob("cpu-*.log")):
            sys.stdout.write(log.read_text(encoding="utf-8"))
        # The page's own last command, again for the case that one before it failed.
        subprocess.run(
            [sys.executable, "-m", "stack", "down"],
            cwd=reader.folder,
            env=reader.environment,
            capture_output=True,
            check=False,
        )


def test_a_torchvision_network_of_ones_own_answers_over_http(steps: list[Step]) -> None:
    answer = json.loads(_output(steps, r"curl .*/models/shapes/"))
    assert answer["status"] == "succeeded", answer
    assert answer["result"]["label"] in {"circle", "square", "triangle"}


def test_an_import_says_what_was_registered_and_how_to_ask_it(steps: list[Step]) -> None:
    printed = _output(steps, r"torchqueue models import shapes\.safetensors")
    assert "shapes version 1 is registered: classification, torchvision:mobilenet_v3_small, 3 labels" in printed
    assert "torchqueue models promote shapes 1" in printed


def test_an_exported_program_answers(steps: list[Step]) -> None:
    assert re.search(r"photo\.png +(circle|square|triangle)", _output(steps, r"torchqueue predict --model exported"))


def test_a_kind_of_ones_own_answers_over_http(steps: list[Step]) -> None:
    answer = json.loads(_output(steps, r"curl .*/models/tags/"))
    assert set(answer["result"]) == {"labels", "scores"}
    assert list(answer["result"]["scores"]) == ["circle", "square", "triangle"]


def _output(steps: list[Step], command: str) -> str:
    [found] = [step.output for step in steps if re.match(command, step.command)]
    return found
