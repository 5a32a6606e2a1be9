import inspect
import re
from pathlib import Path

from store.settings import Settings
from tests.unit.deploy.compose_file import ComposeFile

SECRET = re.compile("PASSWORD|AUTH|SECRET|KEY")


def variables_of_settings() -> set[str]:
    """What `Settings.from_env` asks its environment for."""
    return {f"TORCHQUEUE_{name}" for name in re.findall(r'env\.\w+\(\s*"(\w+)"', inspect.getsource(Settings.from_env))}


def test_every_variable_of_the_compose_file_is_documented(compose: ComposeFile, dotenv: dict[str, str]) -> None:
    assert compose.names <= set(dotenv)


def test_every_documented_variable_is_read(compose: ComposeFile, dotenv: dict[str, str]) -> None:
    unused = set(dotenv) - compose.names - variables_of_settings()
    assert unused == {"COMPOSE_PROFILES", "PROMETHEUS_MULTIPROC_DIR"}


def test_every_setting_is_documented(dotenv: dict[str, str]) -> None:
    assert "TORCHQUEUE_DATABASE_URL" in variables_of_settings() <= set(dotenv)


def test_documented_defaults_are_those_of_the_code(dotenv: dict[str, str]) -> None:
    for name in (
        "MAX_BODY_BYTES",
        "MAX_UPLOAD_BYTES",
        "MAX_PIXELS",
        "RETENTION_DAYS",
        "WEB_THREADS",
        "COMPUTE_THREADS",
        "FLOWER_PORT",
        "LOG_LEVEL",
    ):
        assert dotenv[f"TORCHQUEUE_{name}"] == str(getattr(Settings, name.lower()))


def test_no_secret_has_a_default(compose: ComposeFile) -> None:
    operators = {found["operator"] for found in compose.variables if SECRET.search(found["name"])}
    assert operators == {":?"}


def test_the_example_holds_no_secret(dotenv: dict[str, str]) -> None:
    assert {value for name, value in dotenv.items() if SECRET.search(name)} == {""}


def test_every_variable_has_an_explanation(root: Path) -> None:
    blocks = (root / ".env.example").read_text().split("\n\n")
    assert [block for block in blocks if "=" in block and not block.startswith("# ")] == []
