"""What a web process never loads: it must stay small, and start fast."""

import subprocess
import sys

import pytest

PROGRAM = """
import sys
from pathlib import Path
from store.settings import Settings
from webapp.app import create_app
create_app(Settings(database_url="", redis_url="", object_url="", var_dir=Path(".")))
print(*sys.modules)
"""


@pytest.fixture(scope="module")
def loaded() -> set[str]:
    """The modules of a process that made the application."""
    done = subprocess.run([sys.executable, "-W", "error", "-c", PROGRAM], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize("module", ["torch", "torchvision", "numpy", "ml", "stack"])
def test_a_web_process_does_not_load(loaded: set[str], module: str) -> None:
    assert module not in loaded


def test_a_web_process_loads_of_the_workers_only_the_doorbell_and_the_clock(loaded: set[str]) -> None:
    assert {name for name in loaded if name.startswith("tasks.")} == {"tasks.cron", "tasks.doorbell"}
