"""`webapp.draining`: how the processes of a web server hear that they are to leave."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.running import PATIENCE_S
from webapp.draining import FLAG_VARIABLE, GRACE_VARIABLE, DrainFlag, Draining

SETTER = """
import sys
from pathlib import Path
from webapp.draining import DrainFlag
DrainFlag(Path(sys.argv[1])).set()
"""


@pytest.fixture
def flag(tmp_path: Path) -> DrainFlag:
    return DrainFlag.create(tmp_path / "drain")


def test_a_new_flag_is_not_set(flag: DrainFlag) -> None:
    assert not flag.is_set()


def test_who_reads_the_same_file_sees_it_set(flag: DrainFlag, tmp_path: Path) -> None:
    other = DrainFlag(tmp_path / "drain")

    flag.set()

    assert other.is_set()


def test_another_process_sees_it_set(flag: DrainFlag, tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", SETTER, str(tmp_path / "drain")], check=True)

    assert flag.is_set()


def test_a_process_that_nobody_drains_never_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(FLAG_VARIABLE, raising=False)

    assert not Draining.from_env().is_on()


def test_a_process_reads_from_its_environment_where_to_look(
    flag: DrainFlag, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(FLAG_VARIABLE, str(tmp_path / "drain"))
    monkeypatch.setenv(GRACE_VARIABLE, "0")

    flag.set()

    assert Draining.from_env().is_on()


def test_waits_are_cut_short_once_it_is_set_and_not_before(flag: DrainFlag) -> None:
    cut = threading.Event()
    Draining(flag, grace_s=0.0).start(cut.set)
    assert not cut.wait(0.3)

    flag.set()

    assert cut.wait(PATIENCE_S)


def test_waits_go_on_within_the_grace(flag: DrainFlag) -> None:
    cut = threading.Event()
    Draining(flag, grace_s=60.0).start(cut.set)

    flag.set()

    assert not cut.wait(0.5)
