"""The files of the container side, read once."""

from pathlib import Path

import pytest

from tests.unit.deploy.compose_file import ComposeFile

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="session")
def root() -> Path:
    """The folder of the repository."""
    return ROOT


@pytest.fixture(scope="session")
def compose() -> ComposeFile:
    """docker-compose.yml."""
    return ComposeFile((ROOT / "docker-compose.yml").read_text())


@pytest.fixture(scope="session")
def dotenv() -> dict[str, str]:
    """The variables of .env.example, also those that stand there commented out, and their values."""
    lines = (ROOT / ".env.example").read_text().splitlines()
    pairs = (line.removeprefix("#").partition("=") for line in lines if "=" in line and not line.startswith("# "))
    return {name: value for name, _, value in pairs}


@pytest.fixture(scope="session")
def image_user() -> str:
    """The user that the Dockerfile ends with."""
    users = [line.split()[1] for line in (ROOT / "Dockerfile").read_text().splitlines() if line.startswith("USER ")]
    return users[-1]
