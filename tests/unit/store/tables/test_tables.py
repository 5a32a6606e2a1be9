"""The tables: each knows the others that it names by text, however few modules a process has imported."""

import subprocess
import sys

import pytest

from tests.running import ROOT


@pytest.mark.parametrize("module", ["store.keys", "store.audit", "store.predictions", "store.tables.decision"])
def test_a_process_that_imports_one_module_of_the_store_can_use_its_tables(module: str) -> None:
    code = f"import {module}; from sqlalchemy.orm import configure_mappers; configure_mappers()"

    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
