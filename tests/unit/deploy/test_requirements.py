import re
from pathlib import Path

import pytest

LOCKS = ("runtime", "embedded", "dev")


def wanted(root: Path, name: str) -> set[str]:
    """The packages that an .in file names."""
    text = (root / "requirements" / f"{name}.in").read_text()
    return set(re.findall(r"^([a-z][\w-]*)", text, re.MULTILINE))


def pins(root: Path, name: str) -> dict[str, str]:
    """The versions of a lock."""
    text = (root / "requirements" / f"{name}.txt").read_text()
    return dict(re.findall(r"^([a-z][\w.-]*)==(\S+)", text, re.MULTILINE))


@pytest.mark.parametrize("name", LOCKS)
def test_every_package_that_is_wanted_is_pinned(root: Path, name: str) -> None:
    assert wanted(root, name) <= set(pins(root, name))


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_holds_pins_with_hashes_and_nothing_else(root: Path, name: str) -> None:
    # Neither an index, a folder nor an address: those belong to the machine that installs.
    line = re.compile(r"[a-z][\w.-]*==\S+( ; [^/:@]+)? \\|    --hash=sha256:[0-9a-f]{64}( \\)?")
    lines = (root / "requirements" / f"{name}.txt").read_text().splitlines()
    assert [text for text in lines if not line.fullmatch(text)] == []


@pytest.mark.parametrize("name", ["runtime", "embedded"])
def test_tests_run_with_the_versions_that_ship(root: Path, name: str) -> None:
    assert pins(root, name).items() <= pins(root, "dev").items()


def test_the_image_holds_no_embedded_server(root: Path) -> None:
    assert not wanted(root, "embedded") & set(pins(root, "runtime"))
